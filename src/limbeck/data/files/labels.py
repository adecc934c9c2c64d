"""Class labels in words, and the class ids they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from limbeck.data.files.discover import natural
from limbeck.data.files.rows import Rows
from limbeck.errors import LimbeckError, unknown
from limbeck.outputs import UNLABELED


def labels_in(batch: Mapping[str, Sequence[Any]], column: str, rows: Rows, start: int) -> list[str | None]:
    """The labels of some rows as class names; None for a row whose label is empty.

    A whole number has one name, however it is written: "1", "1.0" and 1.0 are the class "1".

    Args:
        batch: of `rows`, counted from `start`, as values by column.
        column: column of the labels: texts, integers, or numbers of classes that the data set declares.
    Raises:
        LimbeckError: if there is no such column, or a label is neither text nor integer, or negative.
    """
    if column not in batch:
        raise unknown(f"column of {rows.name}:", column, batch)
    declared = rows.classes(column)
    return [
        class_name(value, declared, f"row {number} of {rows.name}", column)
        for number, value in enumerate(batch[column], start + 1)
    ]


def class_name(value: Any, declared: Sequence[str] | None, where: str, column: str) -> str | None:
    """The name of a class or label; None for an empty field.

    Args:
        value: as the file has it.
        declared: the names that the data set declares for numbers; None if it does not.
        where: the row, for messages.
        column: the value is in.
    """
    if isinstance(value, float) and value.is_integer():  # as a file has integers some of which are missing
        value = int(value)
    if value is None or value != value or (declared and value == -1):
        return None
    if declared and isinstance(value, int):
        if not 0 <= value < len(declared):
            raise LimbeckError(
                f"the label {value} in {where} is no class id: with {len(declared)} classes it should be"
                f" 0 to {len(declared) - 1}, or -1 for no label"
            )
        return declared[value]
    if re.fullmatch(r"-\d+(\.0*)?", str(value).strip()):  # "no label" in some data, a class in other
        raise LimbeckError(
            f"the label {value} in {where} is negative; leave the field empty where a row has no label, and"
            " give classes names, or numbers from 0"
        )
    if isinstance(value, float):
        raise _decimals(column, repr(value), where)
    if isinstance(value, (list, tuple)):
        raise LimbeckError(
            f"the column {column!r} holds lists, such as {value!r:.60} in {where}; choose the multilabel"
            ' task, task="multilabel"'
        )
    if not isinstance(value, (str, int)):
        raise LimbeckError(f"the label {value!r} in {where} should be a class, a text or an integer")
    name = str(value).strip()
    return re.sub(r"^(\d+)\.0*$", r"\1", name) or None


def class_ids(
    labels: Mapping[str, Sequence[str | None]],
    splits: Mapping[str, Rows],
    column: str,
    names: Sequence[str] = (),
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """The class names and, for each split, the class ids (N,), `UNLABELED` where there is no label.

    Ids follow the names given, or the order that the data set declares, or else the natural order of the
    names in the train split: numbers by value, letters without regard to case.

    Raises:
        LimbeckError: for fewer than 2 classes, a class that the train split has not, and labels that are
            numbers for regression or several labels in one.
    """
    known = tuple(names) or splits["train"].classes(column)
    if known is None:
        known = in_order(label for label in labels["train"] if label is not None)
        _check_classes(known, labels["train"], splits["train"].name, column)
    if len(known) < 2:
        raise LimbeckError(
            f"the column {column!r} of {splits['train'].name} should hold 2 classes or more, not {len(known)}"
        )
    owner = "names=[...]" if names else splits["train"].name
    ids: dict[str | None, int] = {None: UNLABELED, **{name: number for number, name in enumerate(known)}}
    for split, given in labels.items():
        for number, label in enumerate(given, 1):
            if label not in ids:
                raise LimbeckError(
                    f"the class {label!r} in row {number} of {splits[split].name} is none that {owner} has"
                )
    return known, {split: torch.tensor([ids[label] for label in given]) for split, given in labels.items()}


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in the natural order."""
    return tuple(sorted(set(names), key=natural))


def alike(names: Sequence[str]) -> tuple[str, ...]:
    """Sentences on names that differ in nothing but case."""
    seen: dict[str, str] = {}
    notes = []
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            notes.append(f"the labels {other!r} and {name!r} are two, and differ in case alone")
    return tuple(notes)


def _check_classes(names: Sequence[str], labels: Sequence[str | None], rows: str, column: str) -> None:
    """Refuses names that show that the column is for another task, and numbers written in two ways."""
    numbers = {name: _number(name) for name in names}
    wrong = next((name for name, number in numbers.items() if number is not None and number % 1), None)
    if wrong is not None and None not in numbers.values():
        raise _decimals(column, wrong, f"row {labels.index(wrong) + 1} of {rows}")
    of_number: dict[float, str] = {}
    for name, number in numbers.items():
        other = name if number is None else of_number.setdefault(number, name)
        if other != name:
            raise LimbeckError(
                f"the labels {other!r} and {name!r} in the column {column!r} of {rows} are one number written"
                " in two ways; write it in one"
            )
    for separator in "|;":
        parts = {name: [part.strip() for part in name.split(separator)] for name in names}
        every = [part for some in parts.values() for part in some if part]
        joined = next((name for name, some in parts.items() if len(some) > 1), None)
        if joined is not None and len(set(every)) < len(every):
            raise LimbeckError(
                f"the column {column!r} of {rows} holds several labels in one, such as {joined!r} in row"
                f' {labels.index(joined) + 1}; choose the multilabel task, task="multilabel",'
                f' separator="{separator}"'
            )


def _number(name: str) -> float | None:
    return float(name) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", name) else None


def _decimals(column: str, value: str, where: str) -> LimbeckError:
    return LimbeckError(
        f"the column {column!r} holds decimals, such as {value} in {where}; choose the regression task,"
        ' task="regression", or write classes as words or whole numbers'
    )
