"""The part of a run's page on what is taken for what."""

from __future__ import annotations

import math

from limbeck.evaluation.fidelity import FEW_CLASSES
from limbeck.evaluation.results import Evaluation, Rate
from limbeck.report.chart import Chart, HeatMap, Trace
from limbeck.report.page import Block
from limbeck.report.table import Cell, Table

WILSON = "Bars are 95 % Wilson intervals: they cover other samples, not other seeds."


def confusion(found: Evaluation) -> list[Block]:
    """The matrix of few classes, the accuracy of those that the student knows least, and confused pairs."""
    names, student = found.class_names, found.student
    teacher = found.networks.get("teacher")
    body: list[Block] = []
    if len(names) <= FEW_CLASSES:
        matrix = student.confusion.matrix
        shades = [[math.sqrt(count / max(sum(row), 1)) for count in row] for row in matrix]
        caption = (
            "The student's answers, in samples. A shade is the share of the row, on a square-root scale, so "
            "that rare mistakes show."
        )
        body.append(
            HeatMap("What is taken for what", names, names, matrix, shades, "true class", "answer", caption)
        )
    measured = [(at, rate) for at, rate in enumerate(student.accuracy.per_class) if rate]
    worst = sorted(measured, key=lambda item: item[1].value)[:FEW_CLASSES]
    traces = [_per_class("student", worst, names)]
    if teacher:
        theirs = [(at, rate) for at, _ in worst if (rate := teacher.accuracy.per_class[at])]
        traces.append(_per_class("teacher", theirs, names))
    which = "" if len(worst) == len(measured) else f" The {len(worst)} that the student knows least."
    caption = f"{WILSON}{which}"
    body.append(Chart("Accuracy by class", traces, "class", "accuracy (%)", caption, horizontal=True))
    if pairs := student.confusion.pairs[:10]:
        sizes = [rate.samples if rate else 0 for rate in student.accuracy.per_class]
        rows: list[list[Cell]] = [
            [
                names[pair.target],
                names[pair.predicted],
                pair.samples,
                sizes[pair.target],
            ]
            for pair in pairs
        ]
        columns = ["true class", "taken for", "samples", "of"]
        body.append(Table("Most confused pairs", columns, rows))
    return body


def _per_class(name: str, rates: list[tuple[int, Rate]], names: tuple[str, ...]) -> Trace:
    values, low, high = zip(*(percents(rate) for _, rate in rates), strict=True)
    x = [names[at] for at, _ in rates]
    if name != "student":
        return Trace(name, x, values, kind="points")
    return Trace(name, x, values, low, high, kind="points")


def percents(rate: Rate) -> tuple[float, float, float]:
    """A rate and the ends of its interval, in percent."""
    return 100 * rate.value, 100 * rate.low, 100 * rate.high
