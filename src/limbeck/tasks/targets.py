"""Targets as users give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from limbeck.errors import LimbeckError


def same_size(targets: Tensor, size: int, which: str) -> None:
    """Refuses another number of targets than there are samples."""
    if len(targets) != size:
        raise LimbeckError(f"there are {size} {which} inputs but {len(targets)} targets")


def as_tensor(targets: Any, which: str, what: str) -> Tensor:
    """A user's targets as a tensor of whatever type they have.

    Args:
        targets: a tensor, an array or a sequence.
        which: "training", "validation" or "test".
        what: the targets should be, for the message: "class ids, integers".
    """
    try:
        return torch.as_tensor(targets)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LimbeckError(f"the {which} targets should be {what}: {error}") from None


def columns_of(names: Sequence[str] | None, width: int | None, targets: Tensor, what: str) -> tuple[str, ...]:
    """Names for the columns of targets that have several: those given, or numbers.

    Args:
        names: one for each column; None for numbers.
        width: how many columns there are, where it is known.
        targets: (N, columns) of the training split; (N, 0) if they have none.
        what: a column is, such as "label", for messages.
    Raises:
        LimbeckError: if they differ, or none of them tells the number.
    """
    columns = targets.shape[1] or None
    known = [number for number in (len(names) if names is not None else None, width, columns) if number]
    if not known:
        raise LimbeckError(
            f"no training sample has a {what}, so their number is unknown; give the names of the {what}s"
        )
    if len(set(known)) > 1 or (names is not None and not names):
        parts = {"names": None if names is None else len(names), "outputs": width, "target columns": columns}
        told = ", ".join(f"{number} {part}" for part, number in parts.items() if number is not None)
        raise LimbeckError(f"each {what} has one name, one output and one column of the targets, not {told}")
    return tuple(names) if names is not None else tuple(map(str, range(known[0])))
