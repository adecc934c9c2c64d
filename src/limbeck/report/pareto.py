"""Accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from limbeck.report.chart import Chart, Trace


class Offer(NamedTuple):
    """A network to choose: what it costs (any unit, above 0), its accuracy in percent, and its interval."""

    name: str
    cost: float
    accuracy: float
    low: float | None = None
    high: float | None = None


def front(offers: Sequence[Offer]) -> list[Offer]:
    """The offers that no other betters: none is as cheap and more accurate, or cheaper and as accurate."""
    best: list[Offer] = []
    for offer in sorted(offers, key=lambda offer: (offer.cost, -offer.accuracy)):
        if not best or offer.accuracy > best[-1].accuracy:
            best.append(offer)
    return best


def accuracy_by_cost(offers: Sequence[Offer], cost: str, interval: str) -> Chart:
    """The offers as points, and a line through those that no other betters.

    Args:
        offers: two at least.
        cost: what the cost is, for the axis.
        interval: what the intervals are, a sentence.
    """
    best = front(offers)
    line = Trace("Pareto front", [it.cost for it in best], [it.accuracy for it in best], kind="guide")
    points = [
        Trace(it.name, [it.cost], [it.accuracy], None, None, "points")
        if it.low is None or it.high is None
        else Trace(it.name, [it.cost], [it.accuracy], [it.low], [it.high], "points")
        for it in offers
    ]
    caption = f"Up is more accurate, left is cheaper; no network betters those on the dotted line. {interval}"
    return Chart("Accuracy against cost", [*points, line], cost, "top-1 accuracy (%)", caption, log=True)
