"""From columns of files to the targets of a task."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from limbeck.data.checks import check_precision
from limbeck.data.files.labels import alike, class_ids, class_name, in_order, labels_in
from limbeck.data.files.rows import Rows
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED
from limbeck.tasks import Task, named

LABEL = "label"
"""The column of the labels where none is named."""


class Targets(NamedTuple):
    """What the columns of the labels say.

    Attributes:
        names: names of the outputs; empty if the files hold no labels and no names were given.
        of: (N, ...) targets of each split, as the task has them.
        notes: sentences on what people should know of them.
    """

    names: tuple[str, ...]
    of: Mapping[str, Tensor]
    notes: tuple[str, ...]


class TargetReader(ABC):
    """Takes in the labels of rows while they are read.

    Attributes:
        task: what the targets are for.
        columns: columns that hold the labels.
    """

    def __init__(self, task: type[Task], label: str | Sequence[str], names: Sequence[str]) -> None:
        self.task = task
        self.columns = (label,) if isinstance(label, str) else tuple(label)
        self._names = tuple(names)
        self._taken: dict[str, list[Any]] = {}
        self._bare: list[str] = []
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise LimbeckError(f"label should name different columns, at least one, not {list(self.columns)}")

    def check_apart(self, column: str, what: str, argument: str) -> None:
        """Refuses to learn a column from itself.

        Args:
            column: name of one that networks learn from.
            what: what it holds.
            argument: the one that names the columns of the targets.
        """
        if column in self.columns:
            raise LimbeckError(
                f"the column {column!r} holds the {what}, and the labels are to be learned from it; name "
                f"another, {argument}=..."
            )

    def add(self, split: str, batch: Mapping[str, Sequence[Any]], rows: Rows, inputs: Iterable[str]) -> None:
        """Takes in the next rows of a split.

        Rows without the column `label` have no label, if their only columns are inputs, or names are given.

        Args:
            split: split that the rows belong to.
            batch: values by column.
            rows: rows of the split.
            inputs: columns that networks learn from.
        Raises:
            LimbeckError: for a column that is not there, and a value that is no label.
        """
        taken = self._taken.setdefault(split, [])
        inputs = set(inputs)
        alone = bool(self._names) or (bool(inputs) and set(batch) <= inputs)
        if self.columns == (LABEL,) and LABEL not in batch and alone:
            taken += [None] * len(next(iter(batch.values())))
            if split not in self._bare:
                self._bare.append(split)
            return
        for column in self.columns:
            if column not in batch:
                raise rows.no_column(column, batch)
        taken += self._read(batch, rows, len(taken))

    def finish(self, splits: Mapping[str, Rows]) -> Targets:
        """The targets of all that was taken in.

        Args:
            splits: the rows of each split.
        """
        notes = tuple(f"{splits[split].name} has no column {LABEL!r} and no labels" for split in self._bare)
        for split, taken in self._taken.items():
            bare = sum(target is None for target in taken)
            if bare and split not in self._bare:
                notes += (f"{bare:,} of the {len(taken):,} rows of {splits[split].name} have no label",)
        if "train" in self._bare and not self._names:
            return self._without_names(splits, notes)
        found = self._finish(self._taken, splits)
        return found._replace(notes=(*notes, *found.notes))

    def _without_names(self, splits: Mapping[str, Rows], notes: tuple[str, ...]) -> Targets:
        raise LimbeckError(
            f"{splits['train'].name} has no labels, so the outputs have no names; give them, names=[...]"
        )

    @abstractmethod
    def _read(self, batch: Mapping[str, Sequence[Any]], rows: Rows, start: int) -> list[Any]:
        """What is kept of some rows, counted from `start`; None for a row without a label."""

    @abstractmethod
    def _finish(self, taken: Mapping[str, list[Any]], splits: Mapping[str, Rows]) -> Targets: ...


class Classes(TargetReader):
    """One class for each row."""

    def __init__(self, task: type[Task], label: str | Sequence[str], names: Sequence[str]) -> None:
        super().__init__(task, label, names)
        if len(self.columns) > 1:
            raise LimbeckError(
                f"{task.name} reads one column of labels, not {len(self.columns)}; for labels of 0 and 1"
                ' choose task="multilabel", for numbers task="regression"'
            )

    def _read(self, batch: Mapping[str, Sequence[Any]], rows: Rows, start: int) -> list[Any]:
        return labels_in(batch, self.columns[0], rows, start)

    def _without_names(self, splits: Mapping[str, Rows], notes: tuple[str, ...]) -> Targets:
        if any(label is not None for taken in self._taken.values() for label in taken):
            return super()._without_names(splits, notes)
        return Targets(
            (), {split: torch.full((len(rows),), UNLABELED) for split, rows in self._taken.items()}, notes
        )

    def _finish(self, taken: Mapping[str, list[Any]], splits: Mapping[str, Rows]) -> Targets:
        names, ids = class_ids(taken, splits, self.columns[0], self._names)
        return Targets(names, ids, alike(names))


class LabelColumns(TargetReader):
    """A column of 0 and 1 for each label."""

    def _read(self, batch: Mapping[str, Sequence[Any]], rows: Rows, start: int) -> list[Any]:
        columns = [
            [_applies(value, column, number, rows) for number, value in enumerate(batch[column], start + 1)]
            for column in self.columns
        ]
        return list(zip(*columns, strict=True))

    def _finish(self, taken: Mapping[str, list[Any]], splits: Mapping[str, Rows]) -> Targets:
        return Targets(self._names or self.columns, _stacked(taken, UNLABELED), ())


class LabelLists(TargetReader):
    """One column of lists of the labels that apply, or of their names joined by a separator."""

    def __init__(
        self, task: type[Task], label: str | Sequence[str], names: Sequence[str], separator: str | None
    ) -> None:
        super().__init__(task, label, names)
        self._separator = separator

    def _read(self, batch: Mapping[str, Sequence[Any]], rows: Rows, start: int) -> list[Any]:
        (column,) = self.columns
        return [
            self._labels(value, column, rows, f"row {number} of {rows.name}")
            for number, value in enumerate(batch[column], start + 1)
        ]

    def _labels(self, value: Any, column: str, rows: Rows, where: str) -> list[str] | None:
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        if isinstance(value, str) and self._separator is not None:
            value = [part for part in value.split(self._separator) if part.strip()]
        if not isinstance(value, (list, tuple)):
            raise LimbeckError(
                f"the column {column!r} holds {value!r:.60} in {where}, which is no list of labels; give"
                ' separator="|" where labels are joined so, or columns of 0 and 1, label=["...", "..."]'
            )
        names = [class_name(each, rows.classes(column), where, column) for each in value]
        if None in names:
            raise LimbeckError(f"the column {column!r} holds an empty label in {where}")
        return [name for name in names if name is not None]

    def _finish(self, taken: Mapping[str, list[Any]], splits: Mapping[str, Rows]) -> Targets:
        names = self._names or splits["train"].classes(self.columns[0])
        names = names or in_order(name for labels in taken["train"] for name in labels or ())
        place = {name: number for number, name in enumerate(names)}
        targets = {}
        for split, rows in taken.items():
            targets[split] = torch.zeros(len(rows), len(names), dtype=torch.int64)
            for number, labels in enumerate(rows):
                if labels is None:
                    targets[split][number] = UNLABELED
                    continue
                for label in labels:
                    if label not in place:
                        raise LimbeckError(
                            f"the label {label!r} in row {number + 1} of {splits[split].name} is none that"
                            f" {'names=[...]' if self._names else splits['train'].name} has"
                        )
                    targets[split][number, place[label]] = 1
        return Targets(names, targets, alike(names))


class Values(TargetReader):
    """A column of numbers for each value."""

    def _read(self, batch: Mapping[str, Sequence[Any]], rows: Rows, start: int) -> list[Any]:
        for column in self.columns:
            if rows.classes(column):
                raise LimbeckError(
                    f"the column {column!r} of {rows.name} holds classes, and {self.task.name} takes numbers"
                )
        columns = [
            [_value(value, column, number, rows) for number, value in enumerate(batch[column], start + 1)]
            for column in self.columns
        ]
        return list(zip(*columns, strict=True))

    def _finish(self, taken: Mapping[str, list[Any]], splits: Mapping[str, Rows]) -> Targets:
        exact = _stacked(taken, math.nan)
        for split, values in exact.items():
            if values.shape[1]:
                check_precision(values, f"values of {splits[split].name}", self.columns)
        return Targets(
            self._names or self.columns, {split: values.float() for split, values in exact.items()}, ()
        )


def target_reader(
    task: str, label: str | Sequence[str], separator: str | None, names: Sequence[str]
) -> TargetReader:
    """What reads the labels of a task.

    Args:
        task: its name.
        label: the column that holds them, or several.
        separator: between the names of labels in one field, where a task takes several labels.
        names: names of the outputs, in their order; those in the data if none is given.
    Raises:
        LimbeckError: for an unknown task, and arguments that do not fit the task.
    """
    meant = named(task)
    if meant.columns_hold == "tags":
        raise LimbeckError(
            f"the task {meant.name} has a tag for each word, and this data has no words; take the data set "
            "tagged, which reads words and tags"
        )
    several = meant.columns_hold == "labels"
    if separator is not None and not (several and isinstance(label, str) and separator):
        raise LimbeckError(
            'separator="|" parts the labels in one column of the task multilabel; leave it out otherwise'
        )
    if meant.columns_hold == "classes":
        return Classes(meant, label, names)
    if meant.columns_hold == "values":
        return Values(meant, label, names)
    if isinstance(label, str):
        return LabelLists(meant, label, names, separator)
    return LabelColumns(meant, label, names)


def _stacked(taken: Mapping[str, list[Any]], empty: float) -> dict[str, Tensor]:
    """(N, columns) for each split, int64 or float64; (N, 0) for rows without any label."""
    kind = torch.int64 if empty == UNLABELED else torch.float64
    return {
        split: torch.empty(len(rows), 0, dtype=kind)
        if all(row is None for row in rows)
        else torch.tensor(rows, dtype=kind)
        for split, rows in taken.items()
    }


def _applies(value: Any, column: str, number: int, rows: Rows) -> int:
    written = str(value).strip()
    if value is None or written == "":
        return UNLABELED
    if written in ("1", "1.0", "True", "true"):
        return 1
    if written in ("0", "0.0", "False", "false"):
        return 0
    raise LimbeckError(
        f"the column {column!r} of {rows.name} holds {value!r} in row {number}; a label is 1 where it"
        " applies, 0 where not, and empty where nobody knows"
    )


def _value(value: Any, column: str, number: int, rows: Rows) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise LimbeckError(
            f"the column {column!r} of {rows.name} holds {value!r} in row {number}, which is no finite"
            " number; leave the field empty where a value is not known"
        )
    return found
