"""Charts: what they hold, and the table of the same values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from limbeck.report.table import Table
from limbeck.tasks.wording import Cell


@dataclass(frozen=True)
class Trace:
    """One series of a chart.

    Attributes:
        name: name of the series; gives it its color.
        x: a number for each value, or a category.
        y: the values; NaN leaves a gap.
        low, high: range of each value: a band around a line, error bars elsewhere.
        kind: how it is drawn; a "guide" is a quiet line to read the others by.
        like: name of the series whose color it has too; None for a color of its own.
    """

    name: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    kind: Literal["line", "points", "bars", "guide"] = "line"
    like: str | None = None

    def __post_init__(self) -> None:
        lengths = {len(values) for values in (self.x, self.y, self.low, self.high) if values is not None}
        if len(lengths) != 1 or (self.low is None) != (self.high is None):
            raise ValueError(
                f"series {self.name!r} needs an x, and both or neither of low and high, for each y"
            )


def over_seeds(name: str, x: Sequence[float], seeds: Sequence[Sequence[float]]) -> Trace:
    """A line of the mean over seeds; where there are several, with a band from the lowest to the highest."""
    at = list(zip(*seeds, strict=True))
    mean = [fmean(values) for values in at]
    return Trace(name, x, mean, *(([min(v) for v in at], [max(v) for v in at]) if len(seeds) > 1 else ()))


@dataclass(frozen=True)
class Chart:
    """Series over one pair of axes; the caption says what to see, or how the values came about.

    Attributes:
        log: whether x grows by factors; its values are then above 0.
        horizontal: x, which are categories, run down the page and y across it; 0 is marked where values
            are on both sides of it.
        from_zero: whether y begins at 0, so that charts can be compared.
        x_range, y_range: the ends of the axes; None to fit the values.
    """

    title: str
    traces: Sequence[Trace]
    x_label: str
    y_label: str
    caption: str = ""
    log: bool = False
    horizontal: bool = False
    from_zero: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None

    @property
    def rows(self) -> int:
        """How many categories stand below each other."""
        return len({x for trace in self.traces for x in trace.x}) if self.horizontal else 0

    @property
    def legend(self) -> bool:
        """Whether a legend names the series; a single one needs none, nor do those that name their rows."""
        named_by_row = self.horizontal and all([trace.name] == list(trace.x) for trace in self.traces)
        return len(self.traces) > 1 and not named_by_row


@dataclass(frozen=True)
class HeatMap:
    """A matrix as shades.

    Attributes:
        rows, columns: their names.
        values: a row of numbers for each row name.
        shades: of the same shape, in [-1, 1]: how dark each cell is, below 0 in another color.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    shades: Sequence[Sequence[float]]
    row_label: str
    column_label: str
    caption: str = ""


def data_table(chart: Chart | HeatMap) -> Table:
    """The values behind a chart: a row for each x, or for each point where several share one x."""
    caption = f"Values of “{chart.title}”"
    if isinstance(chart, HeatMap):
        rows: list[list[Cell]] = [
            [name, *values] for name, values in zip(chart.rows, chart.values, strict=True)
        ]
        return Table(caption, [f"{chart.row_label} \\ {chart.column_label}", *chart.columns], rows)
    if any(len(set(trace.x)) < len(trace.x) for trace in chart.traces):
        long = [(trace.name, x, *values) for trace in chart.traces for x, values in _values(trace)]
        width = max(len(row) for row in long)
        columns = ["series", chart.x_label, chart.y_label, "low", "high"][:width]
        return Table(caption, columns, [[*row, *[None] * (width - len(row))] for row in long])
    columns = [chart.x_label]
    by_x: dict[float | str, list[Cell]] = {x: [x] for trace in chart.traces for x in trace.x}
    for trace in chart.traces:
        names = [trace.name, *([] if trace.low is None else [f"{trace.name}, low", f"{trace.name}, high"])]
        at = dict(_values(trace))
        for x, row in by_x.items():
            row.extend(at.get(x, [None] * len(names)))
        columns += names
    numeric = not any(isinstance(x, str) for x in by_x)
    return Table(caption, columns, [by_x[x] for x in (sorted(by_x) if numeric else by_x)])


def _values(trace: Trace) -> list[tuple[float | str, tuple[float | None, ...]]]:
    """The y, and where there is a range its low and high, at each x; None for NaN."""
    columns = [
        [None if math.isnan(value) else value for value in column]
        for column in (trace.y, trace.low, trace.high)
        if column is not None
    ]
    return list(zip(trace.x, zip(*columns, strict=True), strict=True))
