"""Charts: what they hold, the plotly figure that draws them, and the table of the same values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, NamedTuple

from limbeck.report.table import Cell, Table


@dataclass(frozen=True)
class Trace:
    """One series of a chart.

    Attributes:
        name: of the series; gives it its colour.
        x: a number for each value, or a category.
        y: the values; NaN leaves a gap.
        low, high: range of each value: a band around a line, error bars elsewhere.
        kind: how it is drawn.
    """

    name: str
    x: Sequence[float] | Sequence[str]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    kind: Literal["line", "points", "bars"] = "line"

    def __post_init__(self) -> None:
        lengths = {len(values) for values in (self.x, self.y, self.low, self.high) if values is not None}
        if len(lengths) != 1 or (self.low is None) != (self.high is None):
            raise ValueError(
                f"series {self.name!r} needs an x, and both or neither of low and high, for each y"
            )


@dataclass(frozen=True)
class Chart:
    """Series over one pair of axes; the caption says what to see, or how the values came about."""

    title: str
    traces: Sequence[Trace]
    x_label: str
    y_label: str
    caption: str = ""


class Look(NamedTuple):
    """What tells a series from others: a colour of the style sheet, dashes, the shape of its points."""

    colour: int
    dash: str
    symbol: str
    glyph: str


_COLOURS = 6
_SHAPES = (
    ("solid", "circle", "●"),
    ("8px,3px", "square", "■"),
    ("3px,2px", "diamond", "◆"),
    ("8px,3px,2px,3px", "triangle-up", "▲"),
    ("14px,4px", "triangle-down", "▼"),
    ("5px,3px", "cross", "✚"),
)
_LOOKS = [
    Look(number % _COLOURS + 1, *_SHAPES[(number + number // _COLOURS) % len(_SHAPES)])
    for number in range(_COLOURS * len(_SHAPES))
]


def looks(charts: Iterable[Chart]) -> dict[str, Look]:
    """A look for each series by name, the same in all charts; a colour comes twice in one from seven on."""
    chosen: dict[str, Look] = {}
    for chart in charts:
        for trace in chart.traces:
            here = {chosen[other.name].colour for other in chart.traces if other.name in chosen}
            taken = set(chosen.values())
            best = min(_LOOKS, key=lambda look: (look.colour in here, look in taken))
            chosen.setdefault(trace.name, best)
    return chosen


def figure(chart: Chart, looks: Mapping[str, Look]) -> dict[str, Any]:
    """The plotly figure without its colours: those come with the page's theme, by the number in `meta`.

    Plotly reads tags in its texts, so those are escaped; the name as it is stands in `meta` too.
    """
    x = [x for trace in chart.traces for x in trace.x]
    axis: dict[str, Any] = {"title": {"text": escape(chart.x_label)}}
    if any(isinstance(value, str) for value in x):
        axis["type"] = "category"
    elif x and all(value == int(value) for value in x) and max(x) - min(x) <= 8:  # type: ignore[operator]
        axis["dtick"] = 1  # no half epochs
    unified = all(trace.kind == "line" for trace in chart.traces)
    return {
        "data": [part for trace in chart.traces for part in _draw(trace, looks[trace.name])],
        "layout": {"xaxis": axis, "hovermode": "x unified" if unified else "closest", "barmode": "group"},
    }


def _draw(trace: Trace, look: Look) -> list[dict[str, Any]]:
    """The plotly traces of one series; a band comes first, so that its line lies on it."""
    x = [escape(x) if isinstance(x, str) else x for x in trace.x]
    series = {"name": escape(trace.name), "meta": {"series": trace.name, "colour": look.colour}}
    drawn: dict[str, Any] = {**series, "x": x, "y": _numbers(trace.y)}
    band: list[dict[str, Any]] = []
    value = "%{y:.4~g}"
    if trace.low is not None and trace.high is not None:
        low, high = _numbers(trace.low), _numbers(trace.high)
        drawn["customdata"] = [list(pair) for pair in zip(low, high, strict=True)]
        value += " (%{customdata[0]:.4~g} to %{customdata[1]:.4~g})"
        if trace.kind == "line":
            edge = {"x": [*x, *x[::-1]], "y": [*high, *low[::-1]], "mode": "lines", "line": {"width": 0}}
            band = [{**series, **edge, "type": "scatter", "fill": "toself", "hoverinfo": "skip"}]
        else:
            up = [high - y for high, y in zip(trace.high, trace.y, strict=True)]
            down = [y - low for low, y in zip(trace.low, trace.y, strict=True)]
            drawn["error_y"] = {"array": _numbers(up), "arrayminus": _numbers(down)}
    if trace.kind == "line":
        mode = "lines" if len(x) > 1 else "markers"
        drawn |= {"type": "scatter", "mode": mode, "line": {"dash": look.dash}, "hovertemplate": value}
    else:
        drawn |= {"type": "bar"} if trace.kind == "bars" else {"type": "scatter", "mode": "markers"}
        drawn["hovertemplate"] = "%{fullData.name}, %{x}: " + value + "<extra></extra>"
    if trace.kind != "bars":
        drawn["marker"] = {"symbol": look.symbol}
    return [*band, drawn]


def _numbers(values: Iterable[float]) -> list[float | None]:
    """JSON has no NaN and no infinity; plotly leaves a gap at a null."""
    return [value if math.isfinite(value) else None for value in values]


def data_table(chart: Chart) -> Table:
    """The values behind a chart: a row for each x, or for each point where several share one x."""
    caption = f"Values of “{chart.title}”"
    if any(len(set(trace.x)) < len(trace.x) for trace in chart.traces):
        long = [(trace.name, x, *values) for trace in chart.traces for x, values in _values(trace)]
        width = max(len(row) for row in long)
        columns = ["series", chart.x_label, chart.y_label, "low", "high"][:width]
        return Table(caption, columns, [[*row, *[None] * (width - len(row))] for row in long])
    columns = [chart.x_label]
    rows: dict[float | str, list[Cell]] = {x: [x] for trace in chart.traces for x in trace.x}
    for trace in chart.traces:
        names = [trace.name, *([] if trace.low is None else [f"{trace.name}, low", f"{trace.name}, high"])]
        at = dict(_values(trace))
        for x, row in rows.items():
            row.extend(at.get(x, [None] * len(names)))
        columns += names
    numeric = not any(isinstance(x, str) for x in rows)
    return Table(caption, columns, [rows[x] for x in (sorted(rows) if numeric else rows)])


def _values(trace: Trace) -> list[tuple[float | str, tuple[float, ...]]]:
    """The y, and where there is a range its low and high, at each x."""
    columns = [column for column in (trace.y, trace.low, trace.high) if column is not None]
    return list(zip(trace.x, zip(*columns, strict=True), strict=True))
