"""README.md of what was measured, and the part of docs/methods.md that says it."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.methods.contenders import ALL, HOSTS, RECIPES, TEACHERS, top1
from limbeck.objective import parse
from limbeck.studies import holm, paired_difference, summarize

LEAD = """Top-1 on the test split in %, last epoch, mean and standard deviation of the seeds; then the mean
difference on the same seeds to the student alone (`ce`) and to KD, with its 95 % Student-t interval. p is
that of the difference to the student alone in a paired t test, corrected by Holm for all rows of the table.
Each method is run by its own recipe, whose weight comes from another task and is not tuned to this one: the
table shows that everything trains and what it costs, and ranks no papers. A step is the median time of 7 x 8
training steps over that of `ce`, alternating in one process, phases apart; the parameters are those trained
beside the student, and the memory that of the method's parts, with gradient and momentum of those that learn.
The intervals are over seeds of the student: there is one teacher of each kind."""

ABOUT = {
    "digits": """`at`, `afd` and `ft` compare maps of unit length by a mean over their pixels, so on these
small maps (2 x 2 in the last stage, against 8 x 8) their weights count for more. "both teachers", `dgkd` and
`ceskd` learn from the assistant and the teacher, "TAKD" from an assistant that the teacher has taught, "born
again" from a network like the student that was trained alone, "SFTN" from a teacher that was trained for this
student, "checkpoints" from the teacher as it was after each tenth
epoch. `dgkd` leaves one of the two out at each step and is weighed as KD is. `ab`, `fsp` and `kcd` train the
student in a phase of 30 epochs besides, so what they stand beside is "ce, 230 epochs". At equal cost: "both
teachers", `dgkd`, `ceskd` and "TAKD" need an assistant, whose training costs what "kd, 880 epochs" spends
more (4.4 times `kd`, in multiply-adds; TAKD 5.6 times), and "mtpd" learns from one teacher after the other
in 200 epochs. The schedule of checkpoints costs no more than `kd`.""",
    "cifar20": """KD, the ten methods that were best on the validation split of the digits, and the three
papers that limbeck began with. The teacher has learned from 20,000 photographs, among which the student's
are, and none of those held out.""",
}


def readme(results: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Every method on a small task, and the best on a harder one",
        "",
        "Printed by `make bench-methods`, that is `python -m benchmarks.methods.run`, from results.json.",
        f"Machine: {platform.machine()}, 1 thread, torch {torch.__version__}.",
        "",
        textwrap.fill(" ".join(LEAD.split()), 108),
        *([] if "cifar20" in results else ["", "The harder task, `cifar20`, has no figures yet."]),
    ]
    for name, task in results.items():
        lines += [
            "",
            f"## {name}",
            "",
            *_facts(task),
            "",
            textwrap.fill(" ".join(ABOUT[name].split()), 108),
            "",
        ]
        lines += _table(task)
    if "digits" in results:
        lines += _around(top1(results["digits"], "test"))
    return "\n".join(lines) + "\n"


BEGIN = "<!-- printed by python -m benchmarks.methods.run; do not edit -->"
END = "<!-- end -->"


def guide(page: str, results: Mapping[str, Any]) -> str:
    """The page of the methods with what each costs and gave between its two marks.

    Args:
        page: the page as it is.
        results: figures by task.
    """
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    task = results["digits"]
    found = top1(task, "test")
    alone = found["ce"]
    text = (
        f"On {task['facts']['data']['name']}, {len(alone)} seeds, each by its own recipe, which is not "
        "tuned to this task ([all figures](../benchmarks/methods/README.md)): the median time of a step over "
        "that of `ce`, the memory of the method's parts (with gradient and momentum of those that learn), "
        "what is read of the teacher ([what a cache keeps](#what-a-cache-keeps) of it), and top-1 minus that "
        "of the student alone (mean and 95 % interval, in points)."
    )
    lines = [
        BEGIN,
        textwrap.fill(text, 116, break_long_words=False),
        "",
        "| | step / `ce` | memory | reads | - student alone |",
        "|---|---|---|---|---|",
    ]
    for name in (*RECIPES, *TEACHERS):
        if name in found and name != "ce":
            spent = task["cost"][name]
            reads = _reads(name, spent)
            gained = paired_difference(found[name], alone)
            cells = [name, f"{spent['step_over_ce']:.2f}", _memory(spent), reads, str(gained)]
            lines.append(f"| {' | '.join(cells)} |")
    return before + "\n".join([*lines, END]) + after


def _facts(task: Mapping[str, Any]) -> list[str]:
    facts, of = task["facts"], task["facts"]["of"]
    teachers = " and ".join(
        f"the {name} `{each['model']}` ({each['parameters']:,} parameters, {100 * each['top1']:.1f} %)"
        for name, each in facts["teachers"].items()
    )
    tried = ", ".join(
        f"{epochs} epochs {summarize([each['validation'] for each in by_seed.values()])} %"
        for epochs, by_seed in task["budgets"].items()
    )
    text = (
        f"{facts['data']['name']}: the student `{of['student']}`, {facts['parameters']:,} parameters, learns "
        f"from {facts['data']['train']:,} samples for {of['epochs']} epochs, beside {teachers}. The student "
        f"alone on the validation split: {tried}."
    )
    return [textwrap.fill(text, 108, break_long_words=False)]


def _table(task: Mapping[str, Any]) -> list[str]:
    found = top1(task, "test")
    alone, kd = found["ce"], found.get("kd")
    differences = {name: paired_difference(top1, alone) for name, top1 in found.items() if name != "ce"}
    corrected = holm({name: each.p for name, each in differences.items() if each.p is not None})
    lines = [
        "| | objective | top-1 | - student alone | p | - KD | step / `ce` | parameters | memory | reads of"
        " the teacher |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, values in found.items():
        spent = task["cost"][name]
        cells = [
            name,
            f"`{ALL[name].objective}`",
            str(summarize(list(values.values()))),
            str(differences.get(name, "")),
            f"{corrected[name]:.3f}" if name in corrected else "",
            str(paired_difference(values, kd)) if kd and name != "kd" else "",
            f"{spent['step_over_ce']:.2f}",
            f"{spent['parameters']:,}",
            _memory(spent),
            _reads(name, spent),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _reads(name: str, spent: Mapping[str, Any]) -> str:
    """What a contender reads of its teacher; `ekd` and `ikd` copy it before training."""
    copied = parse(ALL[name].objective).all_reads.teacher
    return ", ".join(spent["reads"]) or ("a copy" if copied else "no teacher")


def _memory(spent: Mapping[str, Any]) -> str:
    return f"{spent['bytes'] / 1e3:,.0f} kB"


def _around(top1: Mapping[str, Mapping[int, float]]) -> list[str]:
    lines = [
        "",
        "## MGD around its hosts, digits",
        "",
        "Top-1 of MGD minus that of the host on the same seeds, with the same interval.",
        "",
        "| host | granular | stable |",
        "|---|---|---|",
    ]
    for host in (host for host in HOSTS if host in top1):
        around = [top1.get(f"MGD({host}) {scheme}") for scheme in ("granular", "stable")]
        cells = [str(paired_difference(each, top1[host])) if each else "" for each in around]
        lines.append(f"| {host} | {' | '.join(cells)} |")
    return lines
