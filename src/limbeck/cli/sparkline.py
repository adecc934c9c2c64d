"""Lines of small bars that show how a run went, in a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from limbeck.tasks import Metric
from limbeck.tasks.wording import digits

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 30
"""Most bars of a line; of more values each bar is the last one of a stretch."""


def sparkline(values: Sequence[float]) -> str:
    """A bar for each value, from the lowest to the highest of them; a blank for one that is not finite."""
    bars = min(len(values), WIDTH)
    shown = [values[(bar + 1) * len(values) // bars - 1] for bar in range(bars)]
    known = [value for value in shown if math.isfinite(value)]
    if not known:
        return ""
    low, span = min(known), max(known) - min(known)
    return "".join(
        " " if not math.isfinite(value) else BARS[round((value - low) / span * 7) if span else 0]
        for value in shown
    )


def curves(history: Sequence[Mapping[str, Any]], metric: Metric) -> Iterator[str]:
    """The training loss and the metric on the validation split, epoch by epoch; nothing for one epoch.

    Args:
        history: lines of `metrics.jsonl`.
        metric: the task's first.
    """
    trained = [line for line in history if line["phase"] == "training"]
    losses = [float(line["terms"]["total"]) for line in trained if line["terms"].get("total") is not None]
    scores = [
        float(line["validation"][metric.name])
        for line in trained
        if (line.get("validation") or {}).get(metric.name) is not None
    ]
    places = digits(metric, scores[:1] + scores[-1:]) if scores else 0
    lines = (
        ("training loss", losses, [f"{value:.3g}" for value in losses]),
        (f"{metric.label} on validation", scores, [metric.show(value, places) for value in scores]),
    )
    width = max(len(name) for name, values, _ in lines if len(values) > 1) if len(trained) > 1 else 0
    for name, values, told in lines:
        if len(values) > 1:
            yield f"{name:<{width}}  {sparkline(values)}  {told[0]} to {told[-1]}"
