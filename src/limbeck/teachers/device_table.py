"""Answers on an accelerator: a step that reads them there waits for no host."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from limbeck.data.memory import free_on
from limbeck.teachers.store import Store

_CHUNK = 2**16  # rows that are read together


def resident(stores: Mapping[str, Store], rows: int, device: torch.device) -> dict[str, Tensor]:
    """The first rows of some files on a device; nothing if a row is missing or the device has no room.

    Args:
        stores: the files, by field.
        rows: how many rows of each.
        device: where the tables are to be.
    Returns: (rows, width) float16 by field.
    """
    if 2 * rows * sum(store.width for store in stores.values()) > room(device):
        return {}
    parts = [np.arange(start, min(start + _CHUNK, rows)) for start in range(0, rows, _CHUNK)]
    if not all(store.read(part)[1].all() for store in stores.values() for part in parts):
        return {}
    tables = {
        field: torch.empty(rows, store.width, dtype=torch.float16, device=device)
        for field, store in stores.items()
    }
    for field, store in stores.items():
        for part in parts:
            tables[field][part[0] : part[-1] + 1] = torch.from_numpy(store.read(part)[0]).to(device)
    return tables


def room(device: torch.device) -> int:
    """Bytes that answers may take: a quarter of what is free on a GPU, and none elsewhere."""
    return (free_on(device) or 0) // 4
