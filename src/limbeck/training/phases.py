"""The phases of an objective as loops, and a door for those who train in a loop of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.distiller import Distiller
from limbeck.methods.declarations import Phase
from limbeck.outputs import Batch
from limbeck.training import phase_cache
from limbeck.training.loop import Loop
from limbeck.training.trainer import Trainer


class PhaseLoop(Loop):
    """One phase of a distiller's objective.

    Args:
        distiller: whose phase it is.
        name: the phase's full name.
        phase: what is trained in it.
        batches: the batches of the training set by epoch, for a phase that makes none of its own.
    """

    def __init__(
        self, distiller: Distiller, name: str, phase: Phase, batches: Callable[[int], Iterable[object]]
    ) -> None:
        super().__init__(name, phase.epochs, phase.schedule, seed=phase.seed)
        self._distiller, self._phase = distiller, phase
        self._batches = phase.data or batches

    def open(self) -> AbstractContextManager[tuple[nn.Module, torch.optim.Optimizer]]:
        """The phase's losses, and an optimizer over what it trains; all else is frozen meanwhile."""
        return self._distiller.phase_open(self.name, self._phase)

    def batches(self, epoch: int) -> Iterable[object]:
        """The phase's own batches, or those of the training set."""
        return self._batches(epoch)

    def rows(self, batch: Batch) -> Tensor | int | None:
        """The valid rows, where the task says that samples differ in them."""
        uneven = not self._distiller.task.even and self._phase.data is None
        return self._distiller.task.count(batch) if uneven else None

    def counts(self) -> Mapping[str, int]:
        """The samples that the teachers' networks were shown."""
        return {"teacher_forwards": self._distiller.teachers.take_shown()}

    def recall(self, setting: str) -> tuple[Mapping[str, Any], Callable[[], None]] | None:
        """What the cache of phases holds of it."""
        return phase_cache.recall(self._phase, setting)

    def fill(self) -> None:
        """Has the phase fill what it keeps."""
        if self._phase.finish is not None:
            with torch.no_grad():
                self._phase.finish()

    def trained(self, setting: str, line: Mapping[str, Any]) -> None:
        """Has the phase fill what it keeps, and puts its result into the cache."""
        self.fill()
        phase_cache.store(self._phase, setting, line)

    def finish(self) -> None:
        """Moves the distiller on."""
        self._distiller.phase_finished()


def phase_loops(
    distiller: Distiller, batches: Callable[[Phase], Callable[[int], Iterable[object]]]
) -> list[Loop]:
    """What `Trainer.fit` runs for the phases that are still to be run, in order.

    Args:
        distiller: whose phases they are.
        batches: a function that gives a phase its batches of the training set, by epoch.
    """
    return [PhaseLoop(distiller, name, phase, batches(phase)) for name, phase in distiller.phases_left]


def prepare(distiller: Distiller, loader: Iterable[object], **settings: Any) -> None:
    """Runs the phases that the methods declare, for a loop of your own; does nothing if there are none.

    Args:
        distiller: whose phases are run.
        loader: batches of the training set, with a length: (inputs, targets), mappings, or `Batch`es.
        settings: arguments of the `Trainer` that runs them, such as device and precision. How long a phase
            takes is an argument of its method.
    """
    loops = phase_loops(distiller, lambda phase: lambda epoch: at_epoch(loader, epoch))
    if loops:
        Trainer(**settings).fit(distiller, loops)


def at_epoch(loader: Iterable[object], epoch: int) -> Iterable[object]:
    """The loader, told the epoch if it, or its sampler, wants to know."""
    for shuffled in (loader, getattr(loader, "sampler", loader)):
        if hasattr(shuffled, "set_epoch"):
            shuffled.set_epoch(epoch)
    return loader
