from __future__ import annotations

from limbeck.report.pareto import Offer, front, metric_by_cost
from limbeck.tasks import Metric

TOP1 = Metric("top1", "top-1", 100, "%")
NLL = Metric("nll", "NLL", higher=False)

OFFERS = [
    Offer("large", 100, 95.0),
    Offer("small", 10, 90.0, 88.0, 92.0),
    Offer("worse", 10, 80.0),
    Offer("bettered", 50, 89.0),
    Offer("as good for more", 200, 95.0),
]


def test_the_front_is_what_no_other_betters() -> None:
    assert [offer.name for offer in front(OFFERS, TOP1)] == ["small", "large"]
    assert [offer.name for offer in front(OFFERS[::-1], TOP1)] == ["small", "large"]


def test_the_chart_holds_every_offer_and_the_front() -> None:
    chart = metric_by_cost(OFFERS, TOP1, "parameters", "Bars are something.")
    *points, line = chart.traces
    assert [(trace.name, list(trace.x), list(trace.y)) for trace in points] == [
        (offer.name, [offer.cost], [offer.value]) for offer in OFFERS
    ]
    assert (points[1].low, points[1].high, points[0].low) == ([88.0], [92.0], None)
    assert (line.kind, line.x, line.y) == ("guide", [10, 100], [90.0, 95.0])
    assert chart.log
    assert (chart.title, chart.y_label) == ("Top-1 against cost", "top-1 (%)")
    assert chart.caption.endswith("Bars are something.")


def test_where_less_is_better_the_front_goes_down() -> None:
    offers = [Offer("cheap", 1, 2.0), Offer("bettered", 2, 2.5), Offer("good", 3, 0.5), Offer("dear", 4, 0.5)]
    assert [offer.name for offer in front(offers, NLL)] == ["cheap", "good"]
    chart = metric_by_cost(offers, NLL, "parameters", "", "test NLL")
    assert chart.caption.startswith("Down is better")
    assert chart.y_label == "test NLL"
