"""benchmarks/speed: how contenders are timed."""

import time

import pytest
from contest import Timed, alternate, ratio, seconds


def test_contenders_take_turns() -> None:
    order: list[str] = []

    def turn(name: str) -> float:
        order.append(name)
        return float(len(order))

    took = alternate({"a": lambda: turn("a"), "b": lambda: turn("b")}, 3)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert took == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_a_ratio_pairs_repetitions() -> None:
    # The second repetition was slow for both: the medians alone would say 3 / 2.
    took = {"ours": [1.0, 30.0, 3.0], "theirs": [2.0, 60.0, 2.0]}
    assert ratio(took, "ours", "theirs") == 0.5


def test_steps_are_timed_between_requests() -> None:
    timed = Timed([0.0, 0.0, 0.02, 0.02, 0.02], "cpu")
    for pause in timed:
        time.sleep(pause)
    assert len(timed) == 5
    assert len(timed.asked) == 6
    assert timed.step(warm_up=2) == pytest.approx(0.02, abs=0.02)
    assert timed.step(warm_up=2) >= 0.02


def test_seconds_are_those_of_what_runs() -> None:
    assert 0.01 <= seconds(lambda: time.sleep(0.01), "cpu") < 1
