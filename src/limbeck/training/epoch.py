"""An epoch in its course, which a checkpoint may break off and take up again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from limbeck.outputs import Batch, Progress
from limbeck.seeds import seed_for
from limbeck.training.length import Length
from limbeck.training.loop import Loop, as_batch
from limbeck.training.means import Means


class Epoch:
    """What an epoch has done so far, besides what module, optimizer and schedule hold.

    Args:
        loop: whose epoch it is.
        number: counted from 0.
        length: of the loop.
        seed: of the random numbers that are drawn in it.
        rate: the learning rate it begins with.
        accelerator: joins the processes.
        device: where they compute.
        state: what a checkpoint within the epoch says of it; None at its beginning.
    Attributes:
        first: steps of the loop before it.
        steps: how many it has.
        position: steps that are done.
        means: take in the figures of each step.
    """

    def __init__(
        self,
        loop: Loop,
        number: int,
        length: Length,
        seed: int,
        rate: float,
        accelerator: Accelerator,
        device: torch.device,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.loop, self.number = loop, number
        self.first, self.steps, self._length = number * length.per_epoch, length.steps(number), length
        self.position, self.means = 0, Means()
        self._accelerator, self._device, self._rate = accelerator, device, rate
        self._seed = seed_for(seed, loop.name, number, accelerator.process_index)
        self._counts: Counter[str] = Counter()
        self._random: list[Tensor] | None = None
        self._seconds, self._begun = 0.0, time.perf_counter()
        if state is not None:
            self._load(state)

    def _load(self, state: dict[str, Any]) -> None:
        self.position, self._rate, self._seconds = state["position"], state["rate"], state["seconds"]
        shares, rank = state["shares"], self._accelerator.process_index
        # Of other processes than those that began the epoch, the first one has what all had added up.
        same = len(shares) == self._accelerator.num_processes
        mine = [shares[rank]] if same else shares if rank == 0 else []
        self.means.load([share["means"] for share in mine], self._device)
        for share in mine:
            self._counts.update(share["counts"])
        if rank < len(shares):
            self._random = shares[rank]["random"]

    @contextmanager
    def random(self) -> Iterator[None]:
        """A context with the epoch's own random numbers, whatever ran before it and whatever comes after.

        A resumed epoch goes on with those that it left off with, once `batches` has been asked for the first.
        """
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(self._seed)
            yield

    def batches(self) -> Iterator[Batch]:
        """The batches to go, on the device; whoever works on one counts it in `position` before the next."""
        left = self._left(self.loop.batches(self.number))
        if self.steps < self._length.per_epoch:
            left = islice(left, self.steps - self.position)
        for item in left:
            done = self.first + self.position
            progress = Progress(done, self.number, done / self._length.total)
            yield replace(as_batch(item).to(self._device), progress=progress)

    def _left(self, batches: Iterable[object]) -> Iterator[object]:
        if not self.position:
            yield from batches
            return
        # A loader may draw random numbers as it begins and for every batch, as it did before.
        skipping = getattr(batches, "skipping", None)
        left = skipping(self.position) if skipping else islice(batches, self.position, None)
        first = next(left, None)
        if self._random is not None:
            torch.set_rng_state(self._random[0])
            if len(self._random) > 1:
                torch.cuda.set_rng_state(self._random[1], self._device)
        if first is not None:
            yield first
            yield from left

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, with the shares of all processes. Every process must ask."""
        self._count()
        random = [torch.get_rng_state()]
        if self._device.type == "cuda":
            random.append(torch.cuda.get_rng_state(self._device))
        share = {"means": self.means.state(), "counts": dict(self._counts), "random": random}
        return {
            "position": self.position,
            "rate": self._rate,
            "seconds": self._elapsed(),
            "shares": gather_object([share]),
        }

    def line(self) -> dict[str, Any]:
        """Its record, the same on every process."""
        terms = self.means.read(self._accelerator)
        return {
            "phase": self.loop.name,
            "epoch": self.number + 1,
            "step": self.first + self.steps,
            "seconds": round(self._elapsed(), 3),
            "lr": self._rate,
            "terms": terms,
        }

    def counts(self) -> dict[str, int]:
        """The numbers that this process has counted in it."""
        self._count()
        return dict(self._counts)

    def _count(self) -> None:
        for name, count in self.loop.counts().items():
            self._counts[name] += count  # which keeps a zero, unlike update()

    def _elapsed(self) -> float:
        return self._seconds + time.perf_counter() - self._begun
