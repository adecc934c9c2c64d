"""Contenders that take turns, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


def alternate(contenders: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """What each contender says it took, by repetition; in each of these everybody's turn comes once."""
    took: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repetitions):
        for name, run in contenders.items():
            took[name].append(run())
    return took


def ratio(took: Mapping[str, Sequence[float]], contender: str, reference: str) -> float:
    """Median over repetitions of the contender's time over the reference's in the same repetition."""
    pairs = zip(took[contender], took[reference], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


class Timed(Generic[T]):
    """Items for a loop, with the time each was asked for: between two requests lies a step."""

    def __init__(self, items: Sequence[T], device: str) -> None:
        self.items, self.device = items, device
        self.asked: list[float] = []

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        self.asked = [now(self.device)]
        for item in self.items:
            yield item
            self.asked.append(now(self.device))

    def step(self, warm_up: int) -> float:
        """Median seconds of a step, the first `warm_up` left out."""
        gaps = [after - before for before, after in zip(self.asked, self.asked[1:], strict=False)]
        return statistics.median(gaps[warm_up:])


def seconds(run: Callable[[], object], device: str) -> float:
    """How long something takes."""
    begun = now(device)
    run()
    return now(device) - begun


def now(device: str) -> float:
    """Seconds, once the device is done with what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
