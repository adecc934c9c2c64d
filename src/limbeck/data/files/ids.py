"""What data sets and files of answers call a sample."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.data.files.rows import Rows
from limbeck.errors import LimbeckError, unknown


def id_of(value: Any) -> str | None:
    """The id that a field holds; None for an empty field.

    A whole number has one form, however it is written: "7", "7.0" and 7 are the id "7".
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or value != value:
        return None
    return re.sub(r"^(\d+)\.0*$", r"\1", str(value).strip()) or None


def ids_in(batch: Mapping[str, Sequence[Any]], column: str, rows: Rows, start: int) -> list[str]:
    """The ids of some rows.

    Args:
        batch: of `rows`, counted from `start`, as values by column.
        column: column of the ids.
    Raises:
        LimbeckError: if there is no such column, or a field of it is empty.
    """
    if column not in batch:
        raise unknown(f"column of {rows.name}:", column, batch)
    found = []
    for number, value in enumerate(batch[column], start + 1):
        if (known := id_of(value)) is None:
            raise LimbeckError(f"the column {column!r} of {rows.name} is empty in row {number}")
        found.append(known)
    return found


def check_unique(ids: Mapping[str, Sequence[str]], splits: Mapping[str, Rows]) -> None:
    """Refuses an id that two rows have, in one split or in two.

    Args:
        ids: of the rows of each split.
        splits: their rows.
    """
    seen: dict[str, str] = {}
    for split, found in ids.items():
        for number, known in enumerate(found, 1):
            where = f"row {number} of {splits[split].name}"
            if (other := seen.setdefault(known, where)) != where:
                raise LimbeckError(f"{other} and {where} have the same id, {known!r}; give each row its own")
