"""Tensors that grow row by row, and leave memory for a temporary file when they are large."""

from __future__ import annotations

import tempfile

import numpy as np
import torch
from torch import Tensor

RESIDENT = 2**30
"""Bytes that a growing tensor takes of memory at most; a larger one is mapped from a temporary file."""


class Growing:
    """Rows of one shape, as many as come: in memory while they are few, in a temporary file from then on.

    The file has no name and is gone with the object. The system keeps of it in memory what it has room for.
    """

    def __init__(self) -> None:
        self._rows = torch.empty(0)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Tensor) -> None:
        """Takes in rows (B, ...) of the shape and type of the first ones, from any device."""
        if not len(self._rows):
            self._rows = _room(max(1024, len(rows)), rows)
        needed = self._count + len(rows)
        if needed > len(self._rows):
            larger = _room(max(needed, 2 * len(self._rows)), rows)
            larger[: self._count] = self._rows[: self._count]
            self._rows = larger
        self._rows[self._count : needed] = rows.detach()
        self._count = needed

    def read(self) -> Tensor:
        """(N, ...) all rows, without a copy."""
        return self._rows[: self._count]


def _room(count: int, like: Tensor) -> Tensor:
    shape = (count, *like.shape[1:])
    if like.element_size() * torch.Size(shape).numel() <= RESIDENT:
        return torch.empty(shape, dtype=like.dtype)
    kind = torch.empty(0, dtype=like.dtype).numpy().dtype
    with tempfile.TemporaryFile() as file:  # the mapping outlives the handle
        return torch.from_numpy(np.memmap(file, dtype=kind, mode="w+", shape=shape))
