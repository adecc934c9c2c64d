from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, local
from typing import Any, cast

import pytest
import torch
from small_training import Fit, Regression, batches, squared_error, stage

from limbeck.errors import LimbeckError
from limbeck.intervals import Interval
from limbeck.stopping import Stopping
from limbeck.training import Trainer, checkpoints
from limbeck.training.saving import Due, SavePoints
from two_processes import as_launched, run_in_two_processes


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
        return torch.cat([mine, torch.tensor([self.other[: mine.shape[1]]])])


class Alone:
    num_processes = 1


class Pair:
    """Stands for the accelerator and the module `time` of two processes, which are two threads.

    Each has a clock of its own; when they meet, both have the time of the later one. They fail if they do
    not meet equally often.
    """

    num_processes = 2

    def __init__(self) -> None:
        self._here, self._barrier = local(), Barrier(2, timeout=60)
        self._rows: dict[int, tuple[torch.Tensor, float]] = {}

    def monotonic(self) -> float:
        now: float = self._here.now
        return now

    def sleep(self, seconds: float) -> None:
        self._here.now += seconds

    def gather(self, mine: torch.Tensor) -> torch.Tensor:
        self._rows[self._here.rank] = mine, self._here.now
        self._barrier.wait()
        (first, one), (second, other) = self._rows[0], self._rows[1]
        self._barrier.wait()
        self._here.now = max(one, other)
        return torch.cat([first, second])

    def run(self, work: Callable[[int], list[float]]) -> list[list[float]]:
        """What the work of each process gives, from its rank."""

        def process(rank: int) -> list[float]:
            self._here.rank, self._here.now = rank, 0.0
            return work(rank)

        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(process, (0, 1)))


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Pair:
    pair = Pair()
    monkeypatch.setattr("limbeck.training.saving.time", pair)
    return pair


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
            given.saved(0.0, True)
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
            given.saved(0.5, True)
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


def test_two_processes_count_the_time_from_the_save_that_one_of_them_did(pair: Pair) -> None:
    def saves(rank: int) -> list[float]:
        given, found = points(Interval(seconds=600), accelerator=pair), []
        for number in range(1, 3001):
            pair.sleep(1)
            if given.after_step(number):
                seconds = 5.0 if rank == 0 else 0.0
                pair.sleep(seconds)
                assert given.saved(seconds, rank == 0)
                found.append(pair.monotonic())
        return found

    assert pair.run(saves) == [[605, 1210, 1815, 2420, 3025]] * 2


def test_two_processes_pass_over_the_epochs_that_one_does(pair: Pair) -> None:
    def saves(rank: int) -> list[float]:
        given, found = points(epochs=None, accelerator=pair), list[float]()
        for epoch in range(1, 101):
            pair.sleep(1)
            if given.after_epoch(epoch).save:
                found.append(epoch)
                seconds = 0.5 if rank == 0 else 0.0
                pair.sleep(seconds)
                given.saved(seconds, rank == 0)
        return found

    assert pair.run(saves) == [[1, 26, 51, 76]] * 2


def test_a_save_that_failed_is_known_everywhere_and_is_not_tried_again_at_once(pair: Pair) -> None:
    def told(rank: int) -> list[float]:
        given = points(Interval(seconds=600), accelerator=pair)
        pair.sleep(700)
        written = given.saved(0.0, False)
        pair.sleep(599)
        assert given.after_step(1) is None
        pair.sleep(1)
        return [written, given.after_step(2) == Due(True, 0)]

    assert pair.run(told) == [[False, True]] * 2


def longest_wait(clock: Clock, world: Processes, epochs: Iterable[Iterable[float]]) -> float:
    """Seconds between two meetings at most, in epochs of steps of these seconds, between loops each."""
    given, before, waits = points(accelerator=world), clock.now, [0.0]
    number = 0

    def look() -> None:
        nonlocal before
        waits.append(clock.now - before)
        before = clock.now

    for epoch, steps in enumerate(epochs):
        for seconds in steps:
            clock.now += seconds
            number, asked = number + 1, world.asked
            given.after_step(number)
            if world.asked > asked:
                look()
        clock.now += 1e-3
        given.after_epoch(epoch + 1)
        look()
        given.signal()
    return max(waits)


@pytest.mark.parametrize(("seconds", "stride"), [(0.05, 8), (0.3, 3), (0.4, 2), (1.0, 1), (2.5, 1)])
def test_two_processes_ask_as_often_whatever_epochs_end(clock: Clock, seconds: float, stride: int) -> None:
    world = Processes([0, 0, 0])
    waited = longest_wait(clock, world, [[seconds] * 101] * 6)
    assert waited <= max(1.0, seconds) + 2e-3
    assert world.asked <= 6 * (101 / stride + 5)


@pytest.mark.parametrize(
    ("fast", "slow"), [(0.001, 1.0), (0.01, 1.2), (0.1, 1.0), (0.2, 2.0), (0.4, 4.0), (1.0, 10.0)]
)
def test_a_signal_is_heard_within_10_s_also_when_steps_become_slower(
    clock: Clock, fast: float, slow: float
) -> None:
    steps = [fast] * 103 + [slow] * 50
    assert longest_wait(clock, Processes([0, 0, 0]), [steps] * 3) <= 10 + 2e-3


def test_a_long_validation_or_save_does_not_slow_the_next_steps_for_long(clock: Clock) -> None:
    world = Processes([0, 0, 0])
    given = points(accelerator=world)
    for pause in (given.after_epoch, lambda number: given.saved(600.0, True)):
        clock.now += 600
        pause(1)
        asked = world.asked
        for number in range(1, 101):
            clock.now += 0.01
            given.after_step(number)
        assert world.asked - asked <= 16


def broken_off(rank: int, world: int, folder: str) -> tuple[int, str, str]:
    """How often a process saves in epochs that saving would slow down, and what it says in the fourth."""
    as_launched(rank, world)
    save, found = checkpoints.save, list[str]()

    def slow(*given: Any, **further: Any) -> None:
        found.append("saved")
        time.sleep(0.2)
        save(*given, **further)

    def failing(error: Callable[[], torch.Tensor]) -> str:
        def terms(model: Regression, batch: Any) -> dict[str, torch.Tensor]:
            return {"mse": error()} if len(fit.before) > 6 else squared_error(model, batch)

        fit = Fit(Regression(), terms)
        trainer = Trainer(device="cpu", display=False, directory=Path(folder), checkpoint_every=None)
        with pytest.raises(LimbeckError) as raised:
            trainer.fit(fit, [stage(fit, batches(4, 4), epochs=6)])
        return str(raised.value)

    def lost() -> torch.Tensor:
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", slow)
        diverged = failing(lambda: torch.tensor(torch.nan, requires_grad=True))
        saves = len(found)
        return saves, diverged, failing(lost)


def test_every_process_knows_the_newest_checkpoint(tmp_path: Path) -> None:
    (ranks,) = run_in_two_processes(
        [(broken_off, (str(tmp_path),))], [Path(__file__).parent, Path(__file__).parents[1]]
    )
    newest = tmp_path / "checkpoints" / "last.pt"
    assert [saves for saves, _, _ in ranks] == [1, 0], "saving after each epoch would take 2 % of the time"
    for _, diverged, lost in ranks:
        assert f"The last good checkpoint is {newest}." in diverged
        assert f"does not answer; the last checkpoint is {newest}, and" in lost
