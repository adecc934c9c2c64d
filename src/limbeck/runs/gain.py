"""How the difference of a distilled student to the student alone is told."""

from __future__ import annotations

from limbeck.runs.result import BaselineResult
from limbeck.tasks import Metric
from limbeck.tasks.wording import digits, unit_of_difference


def difference(its: BaselineResult, metric: Metric) -> str:
    """The mean difference with its unit, "+7.80 points"; the arguments are those of `told`."""
    return f"{_signed(its, metric, its.difference)} {unit_of_difference(metric)}".rstrip()


def told(its: BaselineResult, metric: Metric) -> str:
    """The difference, the seeds that it rests on, and what they say.

    Args:
        its: the student alone.
        metric: the metric of its values.
    """
    text = f"{difference(its, metric)} of {metric.label} on the {its.split} split"
    if its.interval is None:
        return f"{text}, from 1 seed, which gives no interval"
    low, high = (_signed(its, metric, end) for end in its.interval)
    said = its.verdict or "no verdict from so few"
    return f"{text}, mean over {len(its.values)} seeds, 95 % interval {low} to {high}: {said}"


def _signed(its: BaselineResult, metric: Metric, value: float) -> str:
    places = digits(metric, [each for pair in its.values.values() for each in pair])
    return f"{metric.scale * value:+.{places}f}"
