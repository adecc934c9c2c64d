"""limbeck.cli.sparkline."""

from __future__ import annotations

import math
from typing import Any

from limbeck.cli.sparkline import WIDTH, curves, sparkline
from limbeck.tasks import Classification

METRIC = Classification(("a", "b")).primary


def test_bars_go_from_the_lowest_to_the_highest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([0.0, math.nan, 1.0, math.inf]) == "▁ █ "
    assert sparkline([math.nan]) == sparkline([]) == ""


def test_many_values_are_thinned_and_the_last_stays() -> None:
    line = sparkline([float(value) for value in range(100)])
    assert len(line) == WIDTH
    assert (line[0], line[-1]) == ("▁", "█")
    assert sparkline([0.0] * 99 + [1.0])[-2:] == "▁█"


def epoch(loss: float, top1: float | None, phase: str = "training") -> dict[str, Any]:
    line = {"phase": phase, "terms": {"total": loss}}
    return line if top1 is None else {**line, "validation": {"top1": top1}}


def test_the_curves_of_a_run() -> None:
    history = [epoch(9.0, None, "ft paraphraser"), epoch(2.0, 0.5), epoch(1.0, 0.75), epoch(0.5, 0.875)]
    assert list(curves(history, METRIC)) == [
        "training loss        █▃▁  2 to 0.5",
        "top-1 on validation  ▁▆█  50.00 % to 87.50 %",
    ]
    assert list(curves([epoch(2.0, None), epoch(1.0, None)], METRIC)) == ["training loss  █▁  2 to 1"]
    assert list(curves(history[:2], METRIC)) == []
