"""The plotly figures that draw charts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from html import escape as escape_html
from typing import Any, NamedTuple

from limbeck.report.chart import Chart, HeatMap, Trace

escape = partial(escape_html, quote=False)
"""Plotly reads tags in its texts and writes quotes as they are."""


class Look(NamedTuple):
    """What tells a series from others: a color of the style sheet, dashes, the shape of its points."""

    color: int
    dash: str
    symbol: str
    glyph: str


_COLORS = 6
_SHAPES = (
    ("solid", "circle", "●"),
    ("8px,3px", "square", "■"),
    ("3px,2px", "diamond", "◆"),
    ("8px,3px,2px,3px", "triangle-up", "▲"),
    ("14px,4px", "triangle-down", "▼"),
    ("5px,3px", "cross", "✚"),
)
_LOOKS = [
    Look(number % _COLORS + 1, *_SHAPES[(number + number // _COLORS) % len(_SHAPES)])
    for number in range(_COLORS * len(_SHAPES))
]
_GUIDE = Look(0, "2px,4px", "circle", "●")
_FEW = 16
"""A line of so few values shows where each of them is."""
_CLOUD = 60
"""More points than these hide each other, so they are small and let others through."""


def looks(charts: Iterable[Chart]) -> dict[str, Look]:
    """A look for each series by name, the same in all charts.

    A color comes twice in one chart from seven series on. A series that is to be like another one has its
    color, and dashes and points that set it apart from those in the same chart.
    """
    chosen: dict[str, Look] = {}
    for chart in charts:
        for trace in chart.traces:
            if trace.name in chosen:
                continue
            if trace.kind == "guide":
                chosen[trace.name] = _GUIDE
                continue
            here = [chosen[other.name] for other in chart.traces if other.name in chosen]
            if trace.like in chosen:
                color = chosen[trace.like].color
                chosen[trace.name] = min(_LOOKS, key=lambda look: (look.color != color, look in here))
            else:
                colors, taken = {look.color for look in here}, set(chosen.values())
                chosen[trace.name] = min(_LOOKS, key=lambda look: (look.color in colors, look in taken))
    return chosen


def figure(chart: Chart | HeatMap, looks: Mapping[str, Look]) -> dict[str, Any]:
    """The plotly figure without its colors: those come with the page's theme, by the number in `meta`.

    Plotly reads tags in its texts, so those are escaped; the name as it is stands in `meta` too.
    """
    if isinstance(chart, HeatMap):
        return _heat_map(chart)
    x = [x for trace in chart.traces for x in trace.x]
    axis: dict[str, Any] = {"title": {"text": escape(chart.x_label)}}
    if chart.log:
        axis |= {"type": "log", "tickformat": "~s", "dtick": "D2"}
    elif any(isinstance(value, str) for value in x):
        axis["type"] = "category"
    elif x and all(value == int(value) for value in x) and max(x) - min(x) <= 8:  # type: ignore[operator]
        axis["dtick"] = 1  # no half epochs
    data = [part for trace in chart.traces for part in _draw(trace, looks[trace.name], chart)]
    layout: dict[str, Any] = {"xaxis": axis, "barmode": "group"}
    if chart.horizontal:
        # the names stand over their rows, for a phone has no room beside them
        at = {"xref": "paper", "x": 0, "xanchor": "left", "yshift": 13, "showarrow": False}
        rows = [escape(str(x)) for x in dict.fromkeys(x)]
        ends = [y for trace in chart.traces for y in (trace.y if trace.low is None else trace.low)]
        layout |= {
            "xaxis": {
                "title": {"text": escape(chart.y_label)},
                "zeroline": min(ends) < 0,
                "rangemode": "normal" if min(ends) < 0 else "nonnegative",
                "showgrid": True,
            },
            "yaxis": {"type": "category", "autorange": "reversed", "showticklabels": False, "nticks": 99},
            "annotations": [{**at, "y": number, "text": row} for number, row in enumerate(rows)],
        }
    if chart.from_zero:
        layout["yaxis"] = {"rangemode": "tozero"}
    if chart.x_range:
        axis["range"] = list(chart.x_range)
    if chart.y_range:
        layout["yaxis"] = {"range": list(chart.y_range)}
    unified = all(trace.kind in ("line", "guide") for trace in chart.traces)
    return {"data": data, "layout": {**layout, "hovermode": "x unified" if unified else "closest"}}


def _draw(trace: Trace, look: Look, chart: Chart) -> list[dict[str, Any]]:
    """The plotly traces of one series; a band comes first, so that its line lies on it."""
    x = [escape(x) if isinstance(x, str) else x for x in trace.x]
    series = {"name": escape(trace.name), "meta": {"series": trace.name, "color": look.color}}
    drawn: dict[str, Any] = {**series, "x": x, "y": _numbers(trace.y)}
    if trace.kind == "guide":
        line = {"dash": look.dash, "width": 1.5}
        return [{**drawn, "type": "scatter", "mode": "lines", "line": line, "hoverinfo": "skip"}]
    band: list[dict[str, Any]] = []
    value = "%{x:.4~g}" if chart.horizontal else "%{y:.4~g}"
    errors: dict[str, Any] = {}
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
            errors = {"array": _numbers(up), "arrayminus": _numbers(down)}
    if trace.kind == "line":
        mode = "markers" if len(x) == 1 else "lines+markers" if len(x) <= _FEW else "lines"
        drawn |= {"type": "scatter", "mode": mode, "line": {"dash": look.dash}, "hovertemplate": value}
    else:
        drawn |= {"type": "bar"} if trace.kind == "bars" else {"type": "scatter", "mode": "markers"}
        at = "%{y}" if chart.horizontal else "%{x:.4~s}" if chart.log else "%{x}"
        drawn["hovertemplate"] = f"%{{fullData.name}}, {at}: {value}<extra></extra>"
    if trace.kind != "bars":
        cloud = {"size": 5, "opacity": 0.6} if trace.kind == "points" and len(x) > _CLOUD else {}
        drawn["marker"] = {"symbol": look.symbol, **cloud}
    if chart.horizontal and trace.kind == "points":
        drawn["cliponaxis"] = False  # a point at 0 is a whole one
    if errors:
        drawn["error_x" if chart.horizontal else "error_y"] = errors
    if chart.horizontal:
        drawn["x"], drawn["y"] = drawn["y"], drawn["x"]
        drawn |= {"orientation": "h"} if trace.kind == "bars" else {}
    return [*band, drawn]


def _heat_map(chart: HeatMap) -> dict[str, Any]:
    rows, columns = [[escape(name) for name in names] for names in (chart.rows, chart.columns)]
    cells: dict[str, Any] = {
        "type": "heatmap",
        "meta": {"series": chart.title, "color": 1},
        "x": columns,
        "y": rows,
        "z": [_numbers(row) for row in chart.shades],
        "customdata": [_numbers(row) for row in chart.values],
        "zmin": -1,
        "zmax": 1,
        "xgap": 1,
        "ygap": 1,
        "showscale": False,
        "hovertemplate": f"{escape(chart.row_label)} %{{y}}, {escape(chart.column_label)} %{{x}}: "
        "%{customdata:.4~g}<extra></extra>",
    }
    if len(columns) <= 10:  # more would not fit a phone
        cells["text"] = [[_short(value) for value in row] for row in chart.values]
        cells["texttemplate"] = "%{text}"
    names = {"type": "category", "showgrid": False, "showline": False, "ticks": ""}
    return {
        "data": [cells],
        "layout": {
            "xaxis": {**names, "title": {"text": escape(chart.column_label)}, "nticks": 99},
            "yaxis": {**names, "autorange": "reversed", "nticks": 99},
            "hovermode": "closest",
        },
    }


def _short(value: float) -> str:
    if isinstance(value, int):
        return f"{value:,}" if value else ""
    return f"{value:.2f}" if abs(value) >= 0.005 else ""


def _numbers(values: Iterable[float]) -> list[float | None]:
    """JSON has no NaN and no infinity; plotly leaves a gap at a null."""
    return [value if math.isfinite(value) else None for value in values]
