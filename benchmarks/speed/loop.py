"""limbeck's own loop, driven for as many batches as a measurement needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from limbeck import Distiller
from limbeck.data import Loader
from limbeck.optimization import SGD
from limbeck.outputs import Batch
from limbeck.teachers import Teacher
from limbeck.training import Loop, Trainer

KD = "0.1*ce + 0.9*kd(temperature=4)"


def train(trainer: Trainer, distiller: Distiller, *epochs: Iterable[object]) -> float:
    """Trains as a run does, an epoch for each of `epochs`; the seconds of the last."""

    trainer.fit(distiller, [_Training(distiller, epochs)])
    return float(trainer.history.last["seconds"])


class _Training(Loop):
    def __init__(self, distiller: Distiller, epochs: Sequence[Iterable[object]]) -> None:
        super().__init__("training", len(epochs))
        self._distiller, self._batches = distiller, epochs

    @contextmanager
    def open(self) -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        yield self._distiller, self._distiller.optimizer(SGD())

    def batches(self, epoch: int) -> Iterable[object]:
        return self._batches[epoch]

    def compiled(self) -> AbstractContextManager[None]:
        return self._distiller.compiled()


def ask(teacher: Teacher, batches: Iterable[Batch], trainer: Trainer) -> None:
    """Asks about all batches in the trainer's precision, as its steps will."""
    with torch.autocast(trainer.device.type, torch.bfloat16, enabled=trainer.precision == "bf16"):
        for batch in batches:
            teacher(batch)


def some(loader: Loader, count: int) -> list[Batch]:
    """The first batches of an epoch."""
    return [batch for batch, _ in zip(loader, range(count), strict=False)]


def tensors(batch: Batch) -> tuple[Tensor, Tensor]:
    """Images and labels of a batch that has both."""
    assert isinstance(batch.inputs, Tensor)
    assert batch.targets is not None
    return batch.inputs, batch.targets
