from __future__ import annotations

from limbeck.report.pareto import Offer, accuracy_by_cost, front

OFFERS = [
    Offer("large", 100, 95.0),
    Offer("small", 10, 90.0, 88.0, 92.0),
    Offer("worse", 10, 80.0),
    Offer("bettered", 50, 89.0),
    Offer("as good for more", 200, 95.0),
]


def test_the_front_is_what_no_other_betters() -> None:
    assert [offer.name for offer in front(OFFERS)] == ["small", "large"]
    assert [offer.name for offer in front(OFFERS[::-1])] == ["small", "large"]


def test_the_chart_holds_every_offer_and_the_front() -> None:
    chart = accuracy_by_cost(OFFERS, "parameters", "Bars are something.")
    *points, line = chart.traces
    assert [(trace.name, list(trace.x), list(trace.y)) for trace in points] == [
        (offer.name, [offer.cost], [offer.accuracy]) for offer in OFFERS
    ]
    assert (points[1].low, points[1].high, points[0].low) == ([88.0], [92.0], None)
    assert (line.kind, line.x, line.y) == ("guide", [10, 100], [90.0, 95.0])
    assert chart.log
    assert chart.caption.endswith("Bars are something.")
