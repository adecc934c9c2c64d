from __future__ import annotations

import signal
from typing import Any, cast

import pytest
import torch

from limbeck.intervals import Interval
from limbeck.training.saving import Due, SavePoints
from limbeck.training.stopping import Stopping


class Clock:
    """Stands for the module `time`."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Processes:
    """Stands for the accelerator of two processes, of which the other says always the same."""

    num_processes = 2

    def __init__(self, other: list[float]) -> None:
        self.other, self.asked = other, 0

    def gather(self, mine: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        return torch.cat([mine, torch.tensor([self.other])])


class Alone:
    num_processes = 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("limbeck.training.saving.time", clock)
    return clock


def points(
    every: Interval | None = None,
    epochs: int | None = 1,
    accelerator: Any = None,
    stopping: Stopping | None = None,
) -> SavePoints:
    return SavePoints(
        every, epochs, cast(Any, accelerator or Alone()), torch.device("cpu"), stopping or Stopping()
    )


def test_every_so_many_steps(clock: Clock) -> None:
    given = points(Interval(steps=3))
    assert [number for number in range(1, 10) if given.after_step(number)] == [3, 6, 9]


def test_every_so_many_seconds_since_it_was_saved(clock: Clock) -> None:
    given, found = points(Interval(seconds=10)), []
    for number in range(1, 30):
        clock.now += 4
        if given.after_step(number):
            found.append(number)
            given.saved(clock.now)
    assert found == [3, 6, 9, 12, 15, 18, 21, 24, 27]


def test_a_signal_is_told_after_the_step(clock: Clock) -> None:
    stopping = Stopping()
    given = points(stopping=stopping)
    assert given.after_step(1) is None
    stopping.asked = signal.SIGTERM
    assert given.after_step(2) == Due(False, signal.SIGTERM)
    assert given.after_epoch(1) == Due(True, signal.SIGTERM)
    assert given.signal() == signal.SIGTERM


def test_epochs_that_saving_would_slow_down_are_passed_over(clock: Clock) -> None:
    given, found = points(epochs=None), []
    for epoch in range(1, 101):
        clock.now += 1
        if given.after_epoch(epoch).save:
            found.append(epoch)
            clock.now += 0.5  # fiftyfold: 25 s
            given.saved(clock.now - 0.5)
    assert found == [1, 26, 51, 76]
    every_third = points(epochs=3)
    assert [epoch for epoch in range(1, 10) if every_third.after_epoch(epoch).save] == [3, 6, 9]


def test_two_processes_do_what_one_of_them_wants_and_ask_about_once_a_second(clock: Clock) -> None:
    world = Processes([0, signal.SIGINT, 0])
    assert points(accelerator=world).after_step(1) == Due(False, signal.SIGINT)
    world = Processes([0, 0, 0])
    given = points(Interval(steps=50), accelerator=world)
    for number in range(1, 101):
        clock.now += 0.1
        assert (given.after_step(number) is not None) == (number in (50, 100))
    assert 10 <= world.asked <= 16
