from __future__ import annotations

import pytest
import torch

from limbeck.errors import LimbeckError
from limbeck.tasks.parts.rates import rate, wilson


def test_a_rate_is_a_share_with_its_interval() -> None:
    found = rate(torch.tensor([True, False, True, True]))
    assert (found.value, found.samples) == (0.75, 4)
    assert (found.low, found.high) == wilson(3, 4)


@pytest.mark.parametrize(("successes", "total"), [(0, 10), (10, 10), (81, 263), (1, 1)])
def test_wilson_is_the_published_formula(successes: int, total: int) -> None:
    z, p = 1.959963984540054, successes / total
    center = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * (p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5
    assert wilson(successes, total) == pytest.approx((center - half, center + half), abs=1e-12)


def test_wilson_by_value() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, Table I
    assert wilson(81, 263, confidence=0.5)[0] > 0.2553


@pytest.mark.parametrize(("successes", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_proportion(successes: int, total: int) -> None:
    with pytest.raises(LimbeckError, match=f"{successes} of {total} is no proportion"):
        wilson(successes, total)
