"""A column of files that says how much each training sample counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from limbeck.data.checks import as_weights
from limbeck.data.files.rows import Rows
from limbeck.errors import LimbeckError, unknown


class WeightReader:
    """Takes in the weights of the training rows while they are read; those of other splits are not looked at.

    Args:
        column: that holds them; None for samples that all count alike.
        others: columns that are read for something else.
    Raises:
        LimbeckError: if the column is one of the others.
    """

    def __init__(self, column: str | None, others: Sequence[str]) -> None:
        if column in others:
            raise LimbeckError(
                f"the weights cannot be in the column {column!r}, which is read for something else"
            )
        self.columns = () if column is None else (column,)
        self._taken: list[float] = []
        self._name = ""

    def add(self, split: str, batch: Mapping[str, Sequence[Any]], rows: Rows) -> None:
        """Takes in the next rows of a split.

        Args:
            split: split that the rows belong to.
            batch: values by column.
            rows: rows of the split.
        Raises:
            LimbeckError: if there is no such column, or a field of it holds no number.
        """
        if split != "train":
            return
        self._name = rows.name
        for column in self.columns:
            if column not in batch:
                raise unknown(f"column of {rows.name}:", column, batch)
            for value in batch[column]:
                self._taken.append(_number(value, column, f"row {len(self._taken) + 1} of {rows.name}"))

    def finish(self, rows: Tensor) -> Tensor | None:
        """(M,) float32 weights of the training rows (M,) that were chosen; None where all count alike.

        Raises:
            LimbeckError: for a weight that is none, with its row, and if all are 0.
        """
        if not self.columns:
            return None
        found = as_weights(self._taken, len(self._taken), lambda place: f"row {place + 1} of {self._name}")
        return as_weights(found[rows], len(rows))


def _number(value: Any, column: str, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        said = "is empty" if value is None or not str(value).strip() else f"holds {value!r}"
        raise LimbeckError(
            f"the column {column!r} {said} in {where}; a weight is a finite number of at least 0"
        ) from None
