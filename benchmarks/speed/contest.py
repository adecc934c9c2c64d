"""Contenders that take turns, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import torch

T = TypeVar("T")


def alternate(contenders: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """What each contender says it took, by repetition; in each of these everybody's turn comes once.

    The order stays, but each repetition begins with another contender.
    """
    took: dict[str, list[float]] = {name: [] for name in contenders}
    order = deque(contenders)
    for _ in range(repetitions):
        for name in order:
            took[name].append(contenders[name]())
        order.rotate(-1)
    return took


def ratio(took: Mapping[str, Sequence[float]], contender: str, reference: str) -> float:
    """Median over repetitions of the contender's time over the reference's in the same repetition."""
    pairs = zip(took[contender], took[reference], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


class Timed(Generic[T]):
    """Items for a loop, which tell how long the steps took that were made with them.

    The device is waited for before the first step that counts and after the last, never in between.

    Attributes:
        step: seconds, the mean over all steps but the first `warm_up`.
    """

    def __init__(self, items: Sequence[T], warm_up: int, device: str) -> None:
        self.items, self.warm_up, self.device = items, warm_up, device
        self.step = math.nan

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        yield from self.items[: self.warm_up]
        begun = now(self.device)
        yield from self.items[self.warm_up :]
        self.step = (now(self.device) - begun) / (len(self) - self.warm_up)


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
