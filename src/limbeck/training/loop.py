"""A loop: one phase, or the training itself, as the trainer runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.optimization import Constant, Schedule
from limbeck.outputs import Batch
from limbeck.tasks import Metric
from limbeck.training.averaging import Averaging
from limbeck.training.patience import Patience


class Loop(ABC):
    """What learns, from which batches, for how long.

    Args:
        name: "training", or a phase's name such as "mgd.low"; for messages and records.
        epochs: how many epochs it runs.
        schedule: the schedule of the learning rate; constant if None.
        seed: what seeds the random numbers drawn in it; the trainer's seed if None.
        metric: the metric, of those that `validate` gives, that is shown and by which epochs are chosen.
        keep_best: whether the loop ends with the weights of the epoch that was best on validation.
        max_steps: the most steps it has, which may cut the last epoch short; None for no bound.
        patience: what ends it early by its metric on validation; None for nothing.
    """

    def __init__(
        self,
        name: str,
        epochs: int,
        schedule: Schedule | None = None,
        *,
        seed: int | None = None,
        metric: Metric | None = None,
        keep_best: bool = False,
        max_steps: int | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.name, self.epochs, self.seed = name, epochs, seed
        self.metric, self.keep_best = metric, keep_best
        self.max_steps, self.patience = max_steps, patience
        self.schedule = schedule or Constant()

    @abstractmethod
    def open(self) -> AbstractContextManager[tuple[nn.Module, torch.optim.Optimizer]]:
        """A context in which the module and its optimizer are ready.

        It is entered when the loop's turn comes, because what comes before decides what is left to train. The
        module's forward gives `Losses`.
        """

    @abstractmethod
    def batches(self, epoch: int) -> Iterable[object]:
        """The batches of one epoch, counted from 0; they have a length."""

    def collected(self, batch: Batch) -> Batch:
        """The batch that is learned from, where the module would exchange it for one with other rows."""
        return batch

    def rows(self, batch: Batch) -> Tensor | int | None:
        """The valid rows of a batch, where samples have different numbers of them; None where they do not."""
        return None

    def answered(self, batch: Batch) -> Mapping[str, Tensor]:
        """() how many samples of a batch each teacher answers, by name, of those that have gaps."""
        return {}

    def validate(self) -> Mapping[str, float] | None:
        """Figures of the validation split after an epoch, by metric; None without such a split."""
        return None

    def averaging(self) -> Averaging | None:
        """The average of weights along the loop, which is what it then ends with; None for none.

        It is asked for when the loop is open.
        """
        return None

    def keep(self, epoch: int, last: bool) -> None:  # noqa: B027 (most loops keep nothing on their way)
        """Is told on one process that so many epochs are over, before the checkpoint that says so is written.

        After a crash an epoch may come again, with the same weights.

        Args:
            epoch: the number of epochs that are over.
            last: whether no other follows.
        """

    def tell(self, epoch: int) -> None:  # noqa: B027 (most loops are not watched)
        """Tells who watches that so many epochs are over; what that raises ends the training.

        It comes on one process, after `keep` and before the checkpoint that says so is written.
        """

    def counts(self) -> Mapping[str, int]:
        """Numbers of the epoch, to be summed over all processes and written into its line."""
        return {}

    def compiled(self) -> AbstractContextManager[None] | None:
        """A context in which the networks run compiled; None for a loop that is not worth it."""
        return None

    def recall(self, setting: str) -> tuple[Mapping[str, Any], Callable[[], None]] | None:
        """The last line of an earlier run of this very loop, with what puts its result in place.

        Args:
            setting: what the trainer itself adds to what decides the result.
        Returns: None if there is none.
        """
        return None

    def trained(self, setting: str, line: Mapping[str, Any]) -> None:  # noqa: B027 (not every loop keeps)
        """Is told when the loop has been trained, with the same setting and its last line."""

    def finish(self) -> None:  # noqa: B027 (most loops have nothing left to do)
        """Is told when the loop is over, trained or recalled."""


class ModuleLoop(Loop):
    """A loop over a module and an optimizer that are ready as they are."""

    def __init__(
        self,
        name: str,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Callable[[int], Iterable[object]],
        epochs: int,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(name, epochs, schedule)
        self._opened, self._batches = (module, optimizer), batches

    def open(self) -> AbstractContextManager[tuple[nn.Module, torch.optim.Optimizer]]:
        """Module and optimizer."""
        return nullcontext(self._opened)

    def batches(self, epoch: int) -> Iterable[object]:
        """The batches of one epoch."""
        return self._batches(epoch)


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
