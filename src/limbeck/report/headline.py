"""What the page of a run leads with: what the student is worth, and what it saves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from limbeck.evaluation.results import Evaluation
from limbeck.report.page import Tile
from limbeck.report.table import percent

if TYPE_CHECKING:
    from limbeck.runs.result import Result

UNSURE = 0.02
"""A calibration error from which on the page warns of it."""


def lead(result: Result, found: Evaluation | None) -> str:
    """What the student is worth, in a few sentences.

    Args:
        result: the run's `result.json`.
        found: its `evaluation.json`.
    """
    test, teacher = result.metrics.test, result.teacher
    size = f"{result.student.parameters:,} parameters"
    if test is None:
        return f"The student has {size}. How accurate it is, is not known: the data has no test split."
    text = f"The student is right on {percent(test['top1'])} % of the test samples with {size}"
    if teacher and teacher.metrics:
        share = percent(teacher.metrics["top1"])
        text += f"; its teacher is right on {share} % and has {teacher.parameters:,}"
    if result.agreement is not None:
        text += f". They give the same answer for {percent(result.agreement)} % of the samples"
    if found and found.student.calibration.ece >= UNSURE:
        its = found.student.calibration
        text += f". Its confidence is off by {percent(its.ece)} points"
        calmer = its.nll_after is not None and its.nll_after < found.student.nll
        if calmer and its.ece_after is not None and its.ece_after < its.ece / 2:
            text += f", which a temperature of {its.temperature:.2f} would bring to {percent(its.ece_after)}"
    return text.replace(" %", "\N{NO-BREAK SPACE}%") + "."


def tiles(result: Result, found: Evaluation | None) -> list[Tile]:
    """The figures to decide by: accuracy, what is lost to the teacher, and what is saved.

    Args:
        result: the run's `result.json`.
        found: its `evaluation.json`.
    """
    if found is None:
        return []
    top1 = found.student.accuracy.top1
    interval = f"{percent(top1.low)} to {percent(top1.high)} % on {top1.samples:,} {found.split} samples"
    made = [Tile("Accuracy", percent(top1.value), "%", interval)]
    for role, label in (("teacher", "Against teacher"), ("baseline", "Against baseline")):
        if other := found.networks.get(role):  # type: ignore[call-overload]
            theirs = other.accuracy.top1.value
            points = f"{100 * (top1.value - theirs):+.1f}".replace("-", "\N{MINUS SIGN}")
            made.append(
                Tile(label, points, "points", f"which is right on {percent(theirs)}\N{NO-BREAK SPACE}%")
            )
    cost = found.student.cost
    if (teacher := found.networks.get("teacher")) is None:
        size = f"{compact(cost.parameters)} parameters"
        return [*made, Tile("Multiply-adds", compact(cost.multiply_adds), "", size)]
    made.append(_saved("Multiply-adds", cost.multiply_adds, teacher.cost.multiply_adds))
    made.append(_saved("Parameters", cost.parameters, teacher.cost.parameters))
    if cost.latency and teacher.cost.latency:
        ours, theirs = (latency[1].median_ms for latency in (cost.latency, teacher.cost.latency))
        made.append(Tile("Latency, one sample", f"{ours:.3g}", "ms", f"teacher {theirs:.3g} ms"))
    return made


def compact(number: float) -> str:
    """A count in a few letters: `61.7 k`, `1.23 M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}\N{NO-BREAK SPACE}{letter}"
    return f"{number:.3g}"


def _saved(label: str, ours: float, theirs: float) -> Tile:
    times = theirs / max(ours, 1)
    value, unit = (times, "fewer") if times >= 1 else (1 / times, "more")
    return Tile(
        label, f"{value:.3g}\N{MULTIPLICATION SIGN}", unit, f"{compact(ours)} against {compact(theirs)}"
    )
