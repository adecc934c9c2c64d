"""How figures are written: the values of a metric with their digits and unit, and other numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeAlias

from limbeck.tasks.measuring import Metric
from limbeck.tasks.parts.rates import Rate

Cell: TypeAlias = "str | float | None"
"""A text, a number (shown to four digits), or None where there is nothing to show."""


def axis(metric: Metric) -> str:
    """The label with its unit, for an axis or the heading of a column: "top-1 (%)"."""
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def heading(metric: Metric) -> str:
    """The label as a heading begins: "Top-1", but "mAP" as it is spelled."""
    spelled = any(letter.isupper() for letter in metric.label.partition(" ")[0][1:])
    return metric.label if spelled else metric.label[:1].upper() + metric.label[1:]


def a(metric: Metric) -> str:
    """The label with its article: "a top-1", "an entity F1", "an RMSE"."""
    word = metric.label.partition(" ")[0]
    spelled = sum(letter.isupper() for letter in word) > 1 or (word[0].isupper() and word == word.upper())
    vowels = "aefhilmnorsx" if spelled else "aeiou"
    return f"a{'n' if word[0].lower() in vowels else ''} {metric.label}"


def unit_of_difference(metric: Metric) -> str:
    """What two values differ in: percentages in points, others in their unit."""
    return "points" if metric.unit == "%" else metric.unit


def digits(metric: Metric, values: Iterable[float], percent: int = 2) -> int:
    """How many digits after the point the shown values need.

    Args:
        metric: metric of the values.
        values: as they are measured, not yet scaled.
        percent: the digits of a percentage. Other values have four significant digits by the largest of
            them, and three where all are below 1.
    """
    if metric.unit == "%":
        return percent
    shown = [abs(metric.scale * value) for value in values if math.isfinite(value)]
    largest = max(shown, default=0.0)
    if not largest:
        return 3
    power = math.floor(math.log10(largest))
    return max(3 - power, 0) if power >= 0 else min(2 - power, 9)


def figure(metric: Metric, value: float | None, percent: int = 2) -> str | None:
    """The shown value without its unit, for a table whose heading has it; None for None."""
    if value is None:
        return None
    return f"{metric.scale * value:.{digits(metric, [value], percent)}f}"


def told(metric: Metric, value: float, percent: int = 1) -> str:
    """The shown value with its unit, for a sentence: "97.2 %"."""
    text = metric.show(value, digits(metric, [value], percent))
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def interval(metric: Metric, rate: Rate) -> str:
    """The ends of an interval without their unit: "80.9 to 88.3"."""
    return span(metric, rate.low, rate.high)


def span(metric: Metric, low: float, high: float) -> str:
    """Two values as the ends of an interval, without their unit."""
    places = digits(metric, [low, high], percent=1)
    return f"{metric.scale * low:.{places}f} to {metric.scale * high:.{places}f}"


def point(metric: Metric, value: float, rate: Rate | None) -> tuple[float, float | None, float | None]:
    """The shown value with the ends of its interval, None where it has none."""
    ends = (None, None) if rate is None else (metric.scale * rate.low, metric.scale * rate.high)
    return metric.scale * value, *ends


def show(cell: Cell) -> str:
    """A cell as text: `61,706`, `0.1234`, or a dash for nothing."""
    if cell is None:
        return "\N{EN DASH}"
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.0f}" if abs(cell) >= 10_000 else f"{cell:.4g}"


def percent(fraction: float) -> str:
    """A fraction as a table shows it where the heading has the unit: 0.85234 is `85.2`."""
    return f"{100 * fraction:.1f}"
