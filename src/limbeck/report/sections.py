"""The sections that a task hands over, as blocks of a page."""

from __future__ import annotations

from collections.abc import Sequence

from limbeck.report.chart import Chart, HeatMap, Trace
from limbeck.report.page import Block, Section
from limbeck.report.table import Table
from limbeck.tasks import sections as plain


def drawn(sections: Sequence[plain.Section]) -> list[Section]:
    """The sections of a page from those of a task, in their order."""
    return [
        Section(each.title, [*([each.text] if each.text else []), *(_block(it, each) for it in each.figures)])
        for each in sections
    ]


def table(figure: plain.Table, title: str) -> Table:
    """A table of a task.

    Args:
        figure: the table.
        title: title of the section that it is in, for a table without one of its own.
    """
    return Table(figure.title or title, figure.columns, figure.rows, figure.notes)


def _block(figure: plain.Figure, section: plain.Section) -> Block:
    if isinstance(figure, plain.Table):
        return table(figure, section.title)
    if isinstance(figure, plain.Heatmap):
        return _heat_map(figure)
    return _bars(figure) if isinstance(figure, plain.Bars) else _lines(figure)


def _lines(figure: plain.Lines) -> Chart:
    kind = "points" if figure.kind == "points" else "line"
    traces = []
    for line in figure.lines:
        x, y = [point[0] for point in line.points], [point[1] for point in line.points]
        traces.append(Trace(line.name, x, y, kind=kind, like=line.role))  # type: ignore[arg-type]
    if figure.diagonal:
        ends = figure.x_range or _ends([x for line in figure.lines for x, _ in line.points])
        traces.append(Trace("y = x", ends, ends, kind="guide"))
    return Chart(
        figure.title,
        traces,
        figure.x,
        figure.y,
        figure.notes,
        x_range=figure.x_range,
        y_range=figure.y_range,
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return (min(values), max(values)) if values else (0.0, 1.0)


def _bars(figure: plain.Bars) -> Chart:
    traces = []
    for name, lengths in figure.series.items():
        limits = figure.limits.get(name)
        low, high = ([each[0] for each in limits], [each[1] for each in limits]) if limits else (None, None)
        traces.append(Trace(name, figure.names, lengths, low, high, figure.kind))
    return Chart(figure.title, traces, "name", figure.x, figure.notes, horizontal=True)


def _heat_map(figure: plain.Heatmap) -> HeatMap:
    values, shades = figure.values, figure.shades
    if shades is None:
        most = max((abs(value) for row in values for value in row), default=0.0)
        shades = [[_shade(value, most, figure.diverging) for value in row] for row in values]
    return HeatMap(figure.title, figure.names, figure.names, values, shades, figure.y, figure.x, figure.notes)


def _shade(value: float, most: float, diverging: bool) -> float:
    """Its share of the largest value; below 0 only where 0 is the middle of the colors."""
    share = value / most if most else 0.0
    return share if diverging else max(share, 0.0)
