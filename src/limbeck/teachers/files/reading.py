"""The rows of a file of answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from limbeck.data.files.discover import FORMATS
from limbeck.data.files.ids import id_of
from limbeck.data.files.labels import class_name, in_order
from limbeck.data.files.rows import Rows, read
from limbeck.errors import LimbeckError
from limbeck.teachers.files.answer import BY_CLASS, FORMS, Answer, Classes, from_text

ID, TEXT = "id", "text"
"""The columns that say which sample a row is about."""

_LISTED = 5
"""Columns that a message names."""


class Given(NamedTuple):
    """What a row says.

    Attributes:
        where: the row, for messages.
        id: what the sample is called; None if the row does not say.
        text: the text of the sample; None if the row has none.
        answer: what is known of it; None where the row was left empty.
    """

    where: str
    id: str | None
    text: str | None
    answer: Answer | None


def is_answers(model: str) -> bool:
    """Whether the name of a teacher is that of a file of answers."""
    return Path(model).suffix.lower() in FORMATS


def read_answers(path: Path, names: Sequence[str]) -> tuple[list[Given], tuple[str, ...]]:
    """The rows of a file, and sentences on what of it was not read.

    Args:
        path: a file .jsonl, .json, .csv, .parquet or .arrow.
        names: of the classes, in the order of the logits.
    Raises:
        LimbeckError: naming the file, or the row in it, and what is wrong.
    """
    rows = _rows(path)
    classes = Classes(tuple(names))
    found: list[Given] = []
    columns: list[str] = []
    for row in _each(rows):
        columns = list(row)
        found.append(_given(row, classes, f"row {len(found) + 1} of {rows.name}"))
    left = [name for name in columns if _form_of(name) is None and name not in (ID, TEXT)]
    if not left:
        return found, ()
    more = f" and {len(left) - _LISTED} more" if len(left) > _LISTED else ""
    return found, (f"{rows.name} has columns that are not read: {', '.join(left[:_LISTED])}{more}",)


def classes_in(path: Path) -> tuple[str, ...]:
    """The names of all classes that a file has answers about, in the natural order."""
    rows = _rows(path)
    names: set[str | None] = set()
    for row in _each(rows):
        for form, value in _fields(row, rows.name).items():
            several = isinstance(value, (list, tuple, dict))
            if form != "logits" or isinstance(value, dict):
                names |= {
                    class_name(each, None, rows.name, form) for each in (value if several else (value,))
                }
    return in_order(name for name in names if name)


def _rows(path: Path) -> Rows:
    if not path.is_file():
        raise LimbeckError(f"there is no file of answers {str(path)!r}")
    return read(str(path), None, (ID, TEXT, *FORMS))["train"]


def _each(rows: Rows) -> Iterator[dict[str, Any]]:
    for batch in rows.batches():
        _check_columns(list(batch), rows.name)
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def _form_of(column: str) -> str | None:
    """The form of the answers in a column; None for a column of something else."""
    if column in FORMS:
        return column
    form, dot, name = column.partition(".")
    return form if dot and name and form in BY_CLASS else None


def _check_columns(columns: Sequence[str], name: str) -> None:
    listed = ", ".join(columns)
    if not any(map(_form_of, columns)):
        raise LimbeckError(
            f"{name} has no answers: its columns are {listed}, and one should be {', '.join(FORMS)}"
        )
    twice = [form for form in BY_CLASS if form in columns and any(c.startswith(f"{form}.") for c in columns)]
    if twice:
        raise LimbeckError(
            f"{name} has {twice[0]} in one column and in a column for each class besides; keep one of the two"
        )
    if ID not in columns and TEXT not in columns:
        raise LimbeckError(
            f"{name} does not say which sample an answer is for: its columns are {listed}, and one should be "
            f"{ID} or {TEXT}"
        )


def _given(row: Mapping[str, Any], classes: Classes, where: str) -> Given:
    values = _fields(row, where)
    if len(values) > 1:
        raise LimbeckError(f"{where} has {' and '.join(values)}, which are two answers; keep one of them")
    answers = [FORMS[form](value, classes, where) for form, value in values.items()]
    text = row.get(TEXT)
    if not isinstance(text, str | None):
        raise LimbeckError(f"the text in {where} is {text!r:.60}, which is no text")
    return Given(where, id_of(row.get(ID)), text or None, answers[0] if answers else None)


def _fields(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The answers in a row by their form, without fields that were left empty."""
    values: dict[str, Any] = {}
    for column, value in row.items():
        form = _form_of(column)
        if form is None or _empty(value):
            continue
        if column != form:  # a column for one class
            values.setdefault(form, {})[column.partition(".")[2]] = value
        else:  # a CSV has lists and mappings as JSON
            as_json = form != "label" and isinstance(value, str)
            values[form] = from_text(form, value, where) if as_json else value
    return values


def _empty(value: Any) -> bool:
    """Whether a field holds nothing: no text, no list, or a mapping to nothing."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, dict):
        return all(each is None for each in value.values())
    return value is None or (isinstance(value, (list, tuple)) and not value)
