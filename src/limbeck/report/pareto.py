"""A metric against cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from limbeck.report.chart import Chart, Trace
from limbeck.tasks import Metric
from limbeck.tasks.wording import axis, heading


class Offer(NamedTuple):
    """A network to choose: what it costs (any unit, above 0), its metric as it is shown, and its interval."""

    name: str
    cost: float
    value: float
    low: float | None = None
    high: float | None = None


def front(offers: Sequence[Offer], metric: Metric) -> list[Offer]:
    """The offers that no other betters: none is as cheap and better, or cheaper and as good."""
    sign = -1 if metric.higher else 1
    best: list[Offer] = []
    for offer in sorted(offers, key=lambda offer: (offer.cost, sign * offer.value)):
        if not best or metric.better(offer.value, best[-1].value):
            best.append(offer)
    return best


def metric_by_cost(
    offers: Sequence[Offer], metric: Metric, cost: str, interval: str, label: str | None = None
) -> Chart:
    """The offers as points, and a line through those that no other betters.

    Args:
        offers: two at least.
        metric: what they are worth by.
        cost: what the cost is, for the axis.
        interval: what the intervals are, a sentence.
        label: of the metric's axis; its own if None.
    """
    best = front(offers, metric)
    line = Trace("Pareto front", [it.cost for it in best], [it.value for it in best], kind="guide")
    points = [
        Trace(it.name, [it.cost], [it.value], None, None, "points")
        if it.low is None or it.high is None
        else Trace(it.name, [it.cost], [it.value], [it.low], [it.high], "points")
        for it in offers
    ]
    up = "Up" if metric.higher else "Down"
    caption = f"{up} is better, left is cheaper; no network betters those on the dotted line. {interval}"
    title = f"{heading(metric)} against cost"
    return Chart(title, [*points, line], cost, label or axis(metric), caption.rstrip(), log=True)
