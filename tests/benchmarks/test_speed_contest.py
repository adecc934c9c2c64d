"""benchmarks/speed: how contenders are timed."""

import time

import pytest
from benchmarks.speed.contest import Timed, alternate, ratio, seconds


def test_contenders_take_turns() -> None:
    order: list[str] = []

    def turn(name: str) -> float:
        order.append(name)
        return float(len(order))

    took = alternate({"a": lambda: turn("a"), "b": lambda: turn("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]  # nobody is always the first
    assert took == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_a_ratio_pairs_repetitions() -> None:
    # The second repetition was slow for both: the medians alone would say 3 / 2.
    took = {"ours": [1.0, 30.0, 3.0], "theirs": [2.0, 60.0, 2.0]}
    assert ratio(took, "ours", "theirs") == 0.5


def test_steps_are_timed_between_requests() -> None:
    timed = Timed([0.5, 0.0, 0.02, 0.02, 0.02], 2, "cpu")
    assert len(timed) == 5
    for pause in timed:
        time.sleep(pause)
    assert 0.02 <= timed.step < 0.15  # without the first two


def test_the_device_is_waited_for_at_a_turns_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def now(device: str) -> float:
        events.append(device)
        return float(len(events))

    monkeypatch.setattr("benchmarks.speed.contest.now", now)
    for item in (timed := Timed(["warm", "up", "a", "b"], 2, "cuda")):
        events.append(item)
    assert events == ["warm", "up", "cuda", "a", "b", "cuda"]
    assert timed.step == 1.5


def test_seconds_are_those_of_what_runs() -> None:
    assert 0.01 <= seconds(lambda: time.sleep(0.01), "cpu") < 1
