"""What a collator of `transformers` makes, named columns, as a `Batch`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from itertools import islice
from typing import Any

from limbeck.models.huggingface import task_of
from limbeck.outputs import Batch
from limbeck.tasks import Task
from limbeck.training.phases import at_epoch


class Columns:
    """Tells the columns of a batch apart: labels, `index`, and what the networks read.

    Args:
        label_names: the trainer's; at most one.

    Attributes:
        label: the name of the labels' column.
        names: the names of all columns of the training set, once `settings` has seen it.
    """

    def __init__(self, label_names: Sequence[str]) -> None:
        self.label = (*label_names, "labels")[0]
        self.names: tuple[str, ...] = ()

    def settings(self, student: object, dataset: object, loader: Any) -> dict[str, Any]:
        """What a `Distiller` needs to know: an example, the size of the training set, and the task.

        Args:
            student: a network; its class and config may say what it is for, and it is classification else.
            dataset: the training set.
            loader: a loader of it, of which no batch is drawn.
        """
        few = loader.collate_fn(list(islice(loader.dataset, 2)))
        self.names = tuple(few)
        return {
            "example": self._split(few)[0],
            "data": len(dataset) if isinstance(dataset, Sized) else None,
            "task": task_of(student),
        }

    def batch(self, columns: Mapping[str, Any], task: Task) -> Batch:
        """The columns as a batch, with labels as the task has them."""
        inputs, targets, index = self._split(columns)
        if targets is not None and task.columns_hold == "labels":  # transformers wants these as floats
            targets = task.as_targets(targets, len(targets), "batch's")
        elif targets is not None and task.columns_hold == "values" and targets.ndim == 1:
            targets = targets.unsqueeze(1)
        return Batch(inputs, targets, index)

    def batches(self, loader: Any, task: Task) -> Batches:
        """A loader of columns as one of batches."""
        return Batches(self, loader, task)

    def _split(self, columns: Mapping[str, Any]) -> tuple[dict[str, Any], Any, Any]:
        inputs = dict(columns)
        return inputs, inputs.pop(self.label, None), inputs.pop("index", None)


class Batches:
    """A loader of columns as one of batches, in the order of an epoch."""

    def __init__(self, columns: Columns, loader: Any, task: Task) -> None:
        self._columns, self._loader, self._task = columns, loader, task

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        return (self._columns.batch(each, self._task) for each in self._loader)

    def set_epoch(self, epoch: int) -> None:
        """Tells the loader the epoch."""
        at_epoch(self._loader, epoch)
