"""What one stretch of training is: what learns, from which batches, for how long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.optimization import Constant, Schedule
from limbeck.outputs import Batch


@dataclass(frozen=True)
class Stage:
    """A phase, or the training itself; the trainer treats them alike.

    Attributes:
        name: for messages and records: "training", or a phase's name such as "mgd.low".
        open: a context in which the module and its optimizer are ready; entered when the stage's turn comes,
            because what comes before decides what is left to train. The module's forward gives `Losses`.
        batches: the batches of one epoch, given its number; its length is known.
        epochs: how many.
        schedule: of the learning rate.
        validate: figures to log after each epoch, "top1" among them.
        keep_best: whether the stage ends with the weights of the epoch that was best on validation.
        recall: the last line of an earlier training of this very stage, with what puts its result in place;
            None if there is none. Called with what the trainer itself adds to what decides the result.
        trained: called once the stage has been trained, with the same and the last line.
        finish: called once the stage is over, trained or recalled.
        seed: of what draws random numbers in it; None takes the trainer's.
        compiled: a context in which the networks run compiled; None for a stage that is not worth it.
    """

    name: str
    open: Callable[[], AbstractContextManager[tuple[nn.Module, torch.optim.Optimizer]]]
    batches: Callable[[int], Iterable[object]]
    epochs: int
    schedule: Schedule = Constant()
    validate: Callable[[], Mapping[str, float]] | None = None
    keep_best: bool = False
    recall: Callable[[str], tuple[Mapping[str, Any], Callable[[], None]] | None] = lambda setting: None
    trained: Callable[[str, Mapping[str, Any]], None] = lambda setting, line: None
    finish: Callable[[], None] = lambda: None
    seed: int | None = None
    compiled: Callable[[], AbstractContextManager[None]] | None = None


def as_batch(item: object) -> Batch:
    """A `Batch` from what a loader yields: a Batch, (inputs, targets), inputs alone, or a mapping.

    A mapping may name "labels" or "targets"; what else it holds is the inputs.

    Raises:
        LimbeckError: for anything else, and for anything but tensors in it.
    """
    if isinstance(item, Batch):
        return item
    if isinstance(item, (tuple, list)) and len(item) == 2:
        inputs, targets = item
    elif isinstance(item, Mapping):
        names = [name for name in ("labels", "targets") if name in item]
        inputs = {name: tensor for name, tensor in item.items() if name not in names}
        targets = item[names[0]] if names else None
    else:
        inputs, targets = item, None
    parts = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
    given = parts if targets is None else [*parts, targets]
    strangers = [part for part in given if not isinstance(part, torch.Tensor)]
    if strangers or not parts:
        raise LimbeckError(
            "a loader must yield (inputs, targets), inputs, a mapping or a Batch, of tensors; "
            f"here it yields {_described(strangers[0]) if strangers else 'no inputs'}"
        )
    return Batch(inputs, targets)


def _described(item: object) -> str:
    return f"{type(item).__name__} of {len(item)}" if isinstance(item, (tuple, list)) else type(item).__name__
