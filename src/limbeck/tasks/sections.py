"""What a task hands to a report: titles, sentences, tables and figures as plain data, without HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Points: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """A named series of points (x, y); `role` gives it the color of that network on the page."""

    name: str
    points: Points
    role: str | None = None


@dataclass(frozen=True)
class Lines:
    """Curves, or a cloud of points, in one plot.

    Attributes:
        title: title of the plot.
        x: what the horizontal axis is.
        y: what the vertical axis is.
        lines: the series.
        kind: how they are drawn.
        diagonal: whether the line y = x is drawn for comparison.
        x_range: the ends of the axis; None to fit the data.
        y_range: the ends of the other axis; None to fit the data.
        notes: sentences below the plot.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    kind: Literal["lines", "points"] = "lines"
    diagonal: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    notes: str = ""


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, a group of one for each series at every name, or dots where bars would end.

    Attributes:
        title: title of the plot.
        x: what the length of a bar is.
        names: one for each group.
        series: lengths by the name of the series; NaN leaves a bar out.
        limits: the ends of an interval around each length, by series; missing where there is none.
        kind: how they are drawn; the axis of bars begins at 0, that of points where the data does.
        notes: sentences below the plot.
    """

    title: str
    x: str
    names: Sequence[str]
    series: Mapping[str, Sequence[float]]
    limits: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    kind: Literal["bars", "points"] = "bars"
    notes: str = ""


@dataclass(frozen=True)
class Heatmap:
    """A matrix of colors with a name for each row and column.

    Attributes:
        title: title of the plot.
        x: what the columns are.
        y: what the rows are.
        names: names of rows and columns alike.
        values: (rows, columns).
        diverging: whether zero is the middle of the colors.
        shades: how dark each cell is, in [-1, 1], of the shape of `values`; None for the share of the
            largest value.
        notes: sentences below the plot.
    """

    title: str
    x: str
    y: str
    names: Sequence[str]
    values: Sequence[Sequence[float]]
    diverging: bool = False
    shades: Sequence[Sequence[float]] | None = None
    notes: str = ""


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column is the heading of its row.

    Attributes:
        columns: their headings.
        rows: a text for each column; None where there is nothing to show.
        title: title of the table; that of its section if empty.
        notes: sentences below the table.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | None]]
    title: str = ""
    notes: str = ""


Figure: TypeAlias = "Lines | Bars | Heatmap | Table"


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        title: its heading.
        text: sentences before the figures.
        figures: in order.
    """

    title: str
    text: str = ""
    figures: Sequence[Figure] = ()
