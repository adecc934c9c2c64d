from __future__ import annotations

import pytest

from limbeck.errors import LimbeckError
from limbeck.intervals import Interval, parse_interval


@pytest.mark.parametrize(
    ("given", "means"),
    [
        (500, Interval(steps=500)),
        ("500", Interval(steps=500)),
        ("30s", Interval(seconds=30)),
        ("10min", Interval(seconds=600)),
        ("1.5 h", Interval(seconds=5400)),
        (" 90 s ", Interval(seconds=90)),
    ],
)
def test_a_number_is_steps_and_a_unit_makes_it_time(given: int | str, means: Interval) -> None:
    assert parse_interval(given) == means


@pytest.mark.parametrize("given", [0, -3, "0", "0min", "1.5", "ten", "10 minutes", "", "5d", "nan", "1e3s"])
def test_anything_else_is_refused(given: int | str) -> None:
    with pytest.raises(LimbeckError, match=r"should be a number of steps \(500\) or a time \(10min\), not"):
        parse_interval(given)
