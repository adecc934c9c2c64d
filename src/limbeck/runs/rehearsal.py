"""A run rehearsed: a few steps of each of its loops, timed, of which nothing is kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.outputs import Batch
from limbeck.runs.job import Job
from limbeck.runs.loops import loops
from limbeck.training import Loop, Trainer
from limbeck.training.length import Length
from limbeck.training.phases import PhaseLoop

STEPS = 4
"""Steps of each loop that are run, of which the first warms up."""


def rehearsed(job: Job) -> tuple[list[Short], Trainer]:
    """Some steps of each loop of a job, which trains its networks by so much; and what ran them.

    Raises:
        LimbeckError: for what a run refuses, and where some steps of a phase are too few for what comes next.
    """
    setup = job.config.training
    trainer = Trainer(
        device=setup.device,
        precision=setup.precision,
        memory_format=setup.memory_format,
        accumulation=setup.accumulation,
        clip=setup.clip,
        seed=job.config.seed,
        sharding=setup.sharding,
        display=False,
    )
    shorts = [Short(loop) for loop in loops(job, trainer, lambda epoch: None)]
    trainer.fit(job.distiller, shorts)
    return shorts, trainer


def size_of(state: object) -> int:
    """Bytes of all tensors in nested mappings."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    return sum(map(size_of, state.values())) if isinstance(state, Mapping) else 0


class Short(Loop):
    """Some steps of a loop, timed as their batches are asked for.

    Attributes:
        length: of the whole loop.
        optimizer_bytes: what its optimizer keeps, after these steps.
    """

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop.name, 1, loop.schedule, seed=loop.seed)
        self._loop, self._times = loop, list[float]()
        per_epoch = len(loop.batches(0))  # type: ignore[arg-type] # batches have a length
        self.length = Length.of(per_epoch, loop.epochs, loop.max_steps)
        self.optimizer_bytes = 0

    @property
    def step(self) -> float:
        """Seconds of the fastest step but the first; 0 where there was no other."""
        steps = [after - before for before, after in zip(self._times[1:], self._times[2:], strict=False)]
        return min(steps, default=0.0)

    @property
    def seconds(self) -> float:
        """Of the whole loop."""
        return self.step * self.length.total

    @contextmanager
    def open(self) -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        """The loop's own."""
        with self._loop.open() as (module, optimizer):
            yield module, optimizer
            self.optimizer_bytes = size_of(optimizer.state)

    def batches(self, epoch: int) -> Iterable[object]:
        """The first ones of the loop."""
        return _Timed(self._loop.batches(epoch), self._times)

    def collected(self, batch: Batch) -> Batch:
        """As in the loop."""
        return self._loop.collected(batch)

    def rows(self, batch: Batch) -> Tensor | int | None:
        """As in the loop."""
        return self._loop.rows(batch)

    def answered(self, batch: Batch) -> Mapping[str, Tensor]:
        """As in the loop."""
        return self._loop.answered(batch)

    def trained(self, setting: str, line: Mapping[str, Any]) -> None:
        """Has a phase fill what it keeps."""
        if isinstance(self._loop, PhaseLoop):
            self._loop.fill()  # and nothing goes into the cache of phases

    def finish(self) -> None:
        """As in the loop."""
        self._loop.finish()


class _Timed:
    """Some batches, with the times at which they were asked for."""

    def __init__(self, batches: Iterable[object], times: list[float]) -> None:
        self._batches, self._times = batches, times
        self._count = min(STEPS, len(batches))  # type: ignore[arg-type] # batches have a length

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[object]:
        for batch in islice(self._batches, self._count):
            self._times.append(time.perf_counter())
            yield batch
        self._times.append(time.perf_counter())
