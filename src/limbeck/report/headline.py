"""What the page of a run leads with: what the student is worth, and what it saves."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from limbeck.evaluation.results import Evaluation
from limbeck.report.page import Tile
from limbeck.runs import gain
from limbeck.tasks import Metric, Task
from limbeck.tasks.wording import a, digits, heading, interval, told, unit_of_difference

if TYPE_CHECKING:
    from limbeck.runs.result import BaselineResult, Result


def title(result: Result) -> str:
    """What was made of what, by short names of networks and data: "cnn distilled from teacher on digits"."""
    teachers = " and ".join(dict.fromkeys(_short(each.model) for each in result.teachers.values()))
    made = f"distilled from {teachers}" if teachers else "trained"
    return f"{_short(result.student.model)} {made} on {_short(result.data.name)}"


def _short(name: str) -> str:
    """A network or a data set without its arguments, and a path without the folders before its end."""
    path = re.search(r'\bpath="([^"]+)"', name)
    bare = path[1] if path else name.strip("<>").partition("(")[0]
    return PurePath(bare.removeprefix("hf:")).name or bare


def lead(result: Result, task: Task) -> str:
    """What the student is worth, in a few sentences.

    Args:
        result: the run's `result.json`.
        task: the run's.
    """
    size = f"{result.student.parameters:,} parameters"
    metric, test, teacher = task.primary, result.metrics.test, result.teacher
    of_answers = (
        f". Its teacher is a file of {teacher.answers.told(metric)}" if teacher and teacher.answers else ""
    )
    if test is None or metric.name not in test:
        return (
            f"The student has {size}. How good it is, is not known: the data has no test split{of_answers}."
        )
    text = f"On the test split the student has {a(metric)} of {told(metric, test[metric.name])}"
    text += f" with {size}{of_answers}"
    if teacher and teacher.metrics and metric.name in teacher.metrics:
        text += f"; its teacher has {told(metric, teacher.metrics[metric.name])} with "
        text += f"{teacher.parameters:,}"
    if result.agreement is not None:
        what = "samples" if task.one_row_per_sample else task.decisions
        text += f". They decide {100 * result.agreement:.1f}\N{NO-BREAK SPACE}% of the {what} alike"
    if its := result.alone:
        value = told(metric, its.metrics.on(its.split)[metric.name])
        text += f". Alone, by {its.objective} {its.in_steps(result.steps)}, the student has {value}. "
        text += f"The difference is {gain.told(its, metric)}"
    return text + "."


def tiles(found: Evaluation | None, alone: BaselineResult | None = None) -> list[Tile]:
    """The figures to decide by: the primary metric, what is lost to the teacher, and what is saved.

    Args:
        found: the run's `evaluation.json`.
        alone: the student alone that the run is shown beside.
    """
    if found is None:
        return []
    metric = found.found_task.primary
    ours = found.student.metrics[metric.name]
    made = [Tile(heading(metric), *_value(metric, ours), _measured(found, metric))]
    for role, label in (("teacher", "Against teacher"), ("baseline", "Against baseline")):
        if other := found.networks.get(role):  # type: ignore[call-overload]
            rests = ""
            if role == "baseline" and alone and PurePath(other.run or "").name == PurePath(alone.place).name:
                label, rests = "Against student alone", _rests(alone, metric)
            theirs = other.metrics[metric.name]
            places = digits(metric, [ours, theirs], percent=1)
            difference = f"{metric.scale * (ours - theirs):+.{places}f}".replace("-", "\N{MINUS SIGN}")
            note = f"which has {told(metric, theirs)}{rests}"
            made.append(Tile(label, difference, unit_of_difference(metric), note))
    cost = found.student.cost
    if (teacher := found.networks.get("teacher")) is None:
        size = f"{compact(cost.parameters)} parameters"
        return [*made, Tile("Multiply-adds", compact(cost.multiply_adds), "", size)]
    made.append(_saved("Multiply-adds", cost.multiply_adds, teacher.cost.multiply_adds))
    made.append(_saved("Parameters", cost.parameters, teacher.cost.parameters))
    if cost.latency and teacher.cost.latency:
        ms, theirs = (latency[1].median_ms for latency in (cost.latency, teacher.cost.latency))
        made.append(Tile("Latency, one sample", f"{ms:.3g}", "ms", f"teacher {theirs:.3g} ms"))
    return made


def compact(number: float) -> str:
    """A count in a few letters: `61.7 k`, `1.23 M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}\N{NO-BREAK SPACE}{letter}"
    return f"{number:.3g}"


def _rests(its: BaselineResult, metric: Metric) -> str:
    """On how many seeds the difference to the student alone rests, for the end of a note."""
    seeds = len(its.values)
    return "; from 1 seed" if seeds == 1 else f"; {gain.difference(its, metric)} over {seeds} seeds"


def _value(metric: Metric, value: float) -> tuple[str, str]:
    return f"{metric.scale * value:.{digits(metric, [value], percent=1)}f}", metric.unit


def _measured(found: Evaluation, metric: Metric) -> str:
    """On what the metric was measured, with its interval where it has one."""
    where = f"on {found.samples:,} {found.split} samples"
    if rate := found.student.intervals.get(metric.name):
        where = f"{interval(metric, rate)} {metric.unit}".rstrip() + f" {where}"
    return where if metric.higher else f"{where}; lower is better"


def _saved(label: str, ours: float, theirs: float) -> Tile:
    times = theirs / max(ours, 1)
    value, unit = (times, "fewer") if times >= 1 else (1 / times, "more")
    return Tile(
        label, f"{value:.3g}\N{MULTIPLICATION SIGN}", unit, f"{compact(ours)} against {compact(theirs)}"
    )
