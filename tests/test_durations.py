from __future__ import annotations

from limbeck.durations import duration


def test_from_two_minutes_on_a_duration_has_hours_and_minutes() -> None:
    assert [duration(seconds) for seconds in (0.04, 119.94, 125.4, 7384)] == [
        "0.0 s",
        "119.9 s",
        "0:02:05",
        "2:03:04",
    ]
