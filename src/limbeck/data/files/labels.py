"""Labels in words, and the class ids they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from limbeck.data.files.rows import Rows
from limbeck.errors import LimbeckError, unknown
from limbeck.outputs import UNLABELED


def labels_in(batch: Mapping[str, Sequence[Any]], column: str, rows: Rows, start: int) -> list[str | None]:
    """The labels of some rows as class names; None for a row whose label is empty.

    Args:
        batch: of `rows`, counted from `start`, as values by column.
        column: of the labels: texts, integers, or numbers of classes that the data set declares.
    Raises:
        LimbeckError: if there is no such column, or a label is neither text nor integer, or negative.
    """
    if column not in batch:
        raise unknown(f"column of {rows.name}:", column, batch)
    declared = rows.classes(column)
    names: list[str | None] = []
    for number, value in enumerate(batch[column], start + 1):
        if (
            isinstance(value, float) and value.is_integer()
        ):  # as a file has integers some of which are missing
            value = int(value)
        if value is None or value != value or (declared and value == -1):
            names.append(None)
        elif declared and isinstance(value, int):
            if not 0 <= value < len(declared):
                raise LimbeckError(
                    f"the label {value} in row {number} of {rows.name} is no class id: with"
                    f" {len(declared)} classes it should be 0 to {len(declared) - 1}, or -1 for no label"
                )
            names.append(declared[value])
        elif re.fullmatch(r"-\d+", str(value).strip()):  # "no label" in some data, a class in other
            raise LimbeckError(
                f"the label {value} in row {number} of {rows.name} is negative; leave the field empty where a"
                " row has no label, and give classes names, or numbers from 0"
            )
        elif isinstance(value, (str, int)):
            names.append(str(value).strip() or None)
        else:
            raise LimbeckError(
                f"the label {value!r} in row {number} of {rows.name} should be a class, a text or an integer"
            )
    return names


def class_ids(
    labels: Mapping[str, Sequence[str | None]], splits: Mapping[str, Rows], column: str
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """The class names and, for each split, the class ids (N,), `UNLABELED` where there is no label.

    Ids follow the order that the data set declares, or else that of the names in the train split: by value if
    all are integers, by letter without regard to case if not.

    Raises:
        LimbeckError: for fewer than 2 classes, and a class that the train split has not.
    """
    names = splits["train"].classes(column) or _sorted(
        {label for label in labels["train"] if label is not None}
    )
    if len(names) < 2:
        raise LimbeckError(
            f"the column {column!r} of {splits['train'].name} should hold 2 classes or more, not {len(names)}"
        )
    ids: dict[str | None, int] = {None: UNLABELED, **{name: number for number, name in enumerate(names)}}
    for split, given in labels.items():
        for number, label in enumerate(given, 1):
            if label not in ids:
                raise LimbeckError(
                    f"the class {label!r} in row {number} of {splits[split].name} is none that"
                    f" {splits['train'].name} has"
                )
    return names, {split: torch.tensor([ids[label] for label in given]) for split, given in labels.items()}


def _sorted(names: set[str]) -> tuple[str, ...]:
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names, key=lambda name: (name.casefold(), name)))
