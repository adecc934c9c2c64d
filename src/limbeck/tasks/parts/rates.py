"""Shares of rows, with their Wilson intervals."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import Annotated, TypeAlias

from pydantic import Field
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.tasks.measuring import Findings

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class Rate(Findings):
    """A proportion of `samples` with its 95 % Wilson interval; all in [0, 1]."""

    value: Share
    low: Share
    high: Share
    samples: int


def share_of(successes: int, total: int) -> Rate:
    """The share of `total` rows, at least 1, that have a property, with its interval."""
    low, high = wilson(successes, total)
    return Rate(value=successes / total, low=low, high=high, samples=total)


def rate(happened: Tensor) -> Rate:
    """The share of rows with a property, (P,) bool, with its interval."""
    return share_of(int(happened.sum()), len(happened))


def wilson(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927; Newcombe 1998, method 3).

    Args:
        successes: samples with the property, 0 to `total`.
        total: samples in all, at least 1.
        confidence: coverage in (0, 1).
    Returns: the lower and the upper end, in [0, 1].
    """
    if not 0 <= successes <= total or total == 0:
        raise LimbeckError(f"{successes} of {total} is no proportion")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    center = successes + z**2 / 2
    half = z * sqrt(successes * (total - successes) / total + z**2 / 4)
    low, high = ((center + sign * half) / (total + z**2) for sign in (-1, 1))
    return max(low, 0.0) if successes else 0.0, min(high, 1.0) if successes < total else 1.0
