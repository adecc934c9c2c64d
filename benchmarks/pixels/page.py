"""The page of a contest, printed from what was found."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from limbeck import tasks
from limbeck.studies import holm, paired_difference, summarize
from limbeck.tasks import Metric

if TYPE_CHECKING:
    from benchmarks.pixels.contest import Contest

LEAD = """Mean and standard deviation over the seeds; then the mean difference on the same seeds to the
student alone with its 95 % Student-t interval, and p of a paired t test, corrected by Holm for all rows. All
train for as many steps; the last epoch is reported, and nothing was chosen on the test split. Each method
has the weight of its own recipe, which is not tuned to this task. A step is the median time over that of the
student alone, alternating in one process; memory is the peak of a process, data and teacher included."""


def page(contest: Contest, found: Mapping[str, Any]) -> str:
    """The page in Markdown.

    Args:
        contest: who takes part.
        found: figures as they stand; cells that are missing are left out.
    """
    metric = tasks.named(contest.name).metrics[0]
    unit = f"{metric.label} ({metric.unit})"
    command = f"python -m benchmarks.pixels.{contest.name}"
    lines = [
        f"# {contest.name.capitalize()}",
        "",
        _filled(
            f"Printed by `make bench-{contest.name}`, that is `{command}`, from {contest.name}.json. "
            f"Machine: {platform.machine()}, 1 thread, torch {torch.__version__}."
        ),
        "",
        _filled(contest.about),
        "",
        _filled(LEAD),
        "",
        _filled(_facts(contest, found, metric)),
        "",
        f"| | objective | validation {unit} | test {unit} | - alone | p | agreement (%) | step"
        " | MB | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    values = {
        name: {seed: metric.scale * cell["test"][metric.name] for seed, cell in cells.items()}
        for name, cells in found["cells"].items()
    }
    alone = values.get("alone", {})
    differences = {
        name: paired_difference(its, alone)
        for name, its in values.items()
        if name != "alone" and its.keys() & alone.keys()
    }
    corrected = holm({name: each.p for name, each in differences.items() if each.p is not None})
    for name, cells in found["cells"].items():
        spent = found["cost"].get(name)
        agreed = [100 * cell["agreement"] for cell in cells.values() if cell["agreement"] is not None]
        texts = [
            name,
            f"`{contest.contenders[name]}`",
            str(summarize([metric.scale * cell["validation"][metric.name] for cell in cells.values()])),
            str(summarize([*values[name].values()])),
            str(differences.get(name, "")),
            f"{corrected[name]:.3f}" if name in corrected else "",
            str(summarize(agreed)) if agreed else "",
            f"{spent['step_over_alone']:.2f}" if spent else "",
            f"{spent['peak'] / 1e6:.0f}" if spent else "",
            str(len(cells)),
        ]
        lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def _facts(contest: Contest, found: Mapping[str, Any], metric: Metric) -> str:
    """The networks, and how the student alone fares with other numbers of epochs."""
    text = f"The student `{contest.student}` learns for {contest.epochs} epochs."
    if (teacher := found.get("teacher")) is not None:
        shown = metric.show(teacher["test"][metric.name], 2)
        text += (
            f" The teacher `{contest.teacher}`, {teacher['parameters']:,} parameters, was trained for "
            f"{contest.teacher_epochs} epochs and has {shown} on the test split."
        )
    tries = {int(epochs): [*by_seed.values()] for epochs, by_seed in found["tries"].items() if by_seed}
    some = [*found["cells"].get("alone", {}).values()]
    if some:
        text += f" The student has {some[0]['parameters']:,} parameters."
        tries[contest.epochs] = some
    return text + told_of_tries(tries, metric)


def told_of_tries(tries: Mapping[int, Sequence[Mapping[str, Any]]], metric: Metric) -> str:
    """How the student alone fares by its number of epochs, as a sentence.

    Args:
        tries: what was found, for each seed, by the number of epochs.
        metric: the task's first.
    """
    if not tries:
        return ""

    def mean(epochs: int, split: str) -> str:
        return str(summarize([metric.scale * each[split][metric.name] for each in tries[epochs]]))

    known, longest = ", ".join(f"{n} epochs {mean(n, 'validation')}" for n in sorted(tries)), max(tries)
    count = len(tries[longest])
    seeds = "1 seed" if count == 1 else f"{count} seeds"
    return (
        f" {metric.label} of the student alone on the validation split by its number of epochs: {known}."
        f" After {longest} epochs ({seeds}) it has {mean(longest, 'test')} on the test split."
    )


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 108, break_long_words=False, break_on_hyphens=False)
