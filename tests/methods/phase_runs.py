"""Runs of phases and training: how much was trained, and ones that are killed on their way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from method_setting import make_setting
from torch import Tensor, nn

from limbeck import Batch, Distiller, Trainer
from limbeck.intervals import Interval
from limbeck.optimization import SGD, Cosine
from limbeck.training import phase_loops
from scripted_loop import ScriptedLoop


def epochs_of_phases(distiller: Distiller, batch: Batch, seed: int = 0) -> int:
    """Runs the phases on one batch; how often they asked for it: in each epoch, and once for the length."""
    asked: list[int] = []

    def batches(epoch: int) -> list[Batch]:
        asked.append(epoch)
        return [batch]

    stages = phase_loops(distiller, lambda phase: batches)
    Trainer(display=False, device="cpu", seed=seed).fit(distiller, stages)
    return len(asked)


class Killed(BaseException):
    """What ends the process in the middle of an epoch."""


def run_to_the_end(
    objective: str,
    folder: Path,
    killed_after: int | None = None,
    *,
    epochs: int = 2,
    accumulation: int = 1,
    resume: bool = False,
    save_every: Interval | None = None,
    given_in_all: list[int] | None = None,
) -> dict[str, Tensor]:
    """The state after all phases and the epochs of training, or Killed after so many batches.

    How many batches were given is added to `given_in_all`.
    """
    setting = make_setting(objective, dropout=0.3)
    distiller = setting.distiller(objective)
    given = 0

    def batches(epoch: int) -> list[Batch]:
        order = torch.arange(16).roll(4 * epoch)  # what belongs together stays so
        return Given([Batch(setting.inputs[rows], setting.targets[rows], rows) for rows in order.view(2, 8)])

    class Given(list[Batch]):
        def __iter__(self) -> Iterator[Batch]:
            nonlocal given
            for batch in super().__iter__():
                if given == killed_after:
                    raise Killed
                given += 1
                yield batch

    @contextmanager
    def opened() -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        yield distiller, distiller.optimizer(SGD(lr=0.01))

    folder.mkdir(exist_ok=True)
    stages = [
        *phase_loops(distiller, lambda phase: batches),
        ScriptedLoop("training", opened, batches, epochs, Cosine()),
    ]
    trainer = Trainer(
        display=False, device="cpu", directory=folder, save_every=save_every, accumulation=accumulation
    )
    trainer.fit(distiller, stages, resume=resume)
    if given_in_all is not None:
        given_in_all.append(given)
    return distiller.state_dict()
