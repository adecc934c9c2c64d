"""What one stretch of training is: what learns, from which batches, for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.optimisation import Constant, Schedule
from limbeck.outputs import Batch


@dataclass(frozen=True)
class Stage:
    """A phase, or the training itself; the trainer treats them alike.

    Attributes:
        name: for messages and records: "training", or a phase's name such as "mgd.low".
        open: a context in which the module and its optimiser are ready; entered when the stage's turn comes,
            because what comes before decides what is left to train. The module's forward gives `Losses`.
        batches: the batches of one epoch, given its number; its length is known.
        epochs: how many.
        schedule: of the learning rate.
        validate: figures to log after each epoch, "top1" among them.
        keep_best: whether the stage ends with the weights of the epoch that was best on validation.
        finish: called once the stage is over.
    """

    name: str
    open: Callable[[], AbstractContextManager[tuple[nn.Module, torch.optim.Optimizer]]]
    batches: Callable[[int], Iterable[object]]
    epochs: int
    schedule: Schedule = Constant()
    validate: Callable[[], Mapping[str, float]] | None = None
    keep_best: bool = False
    finish: Callable[[], None] = lambda: None


def as_batch(item: object) -> Batch:
    """A `Batch` from what a loader yields: a Batch, (inputs, targets), inputs alone, or a mapping.

    A mapping may name "labels" or "targets"; what else it holds is the inputs.
    """
    if isinstance(item, Batch):
        return item
    if isinstance(item, torch.Tensor):
        return Batch(item)
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return Batch(item[0], item[1])
    if isinstance(item, Mapping):
        names = [name for name in ("labels", "targets") if name in item]
        rest = {name: tensor for name, tensor in item.items() if name not in names}
        return Batch(rest, item[names[0]] if names else None)
    raise LimbeckError(
        f"a loader must yield (inputs, targets), inputs, a mapping or a Batch, not {type(item).__name__}"
    )
