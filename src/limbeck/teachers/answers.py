"""Where a cached teacher's answers are kept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limbeck.data.views.order import place_of
from limbeck.errors import LimbeckError
from limbeck.teachers.asked import Field
from limbeck.teachers.device_table import resident
from limbeck.teachers.store import Key, Layout, Store, path_of


class Answers:
    """Answers by sample and view: a file for each field and precision, and tables on a GPU with room for all.

    Args:
        directory: where the files are.
        key: everything that decides the answers, apart from field and precision.
        about: what else somebody who lists the files wants to know.
        samples: how many positions the data has.
        views: how many views of a sample there are.
        in_use: how many views of each sample are asked about.
        fields: what is known of each field; it may be filled later.
    """

    def __init__(
        self,
        directory: Path,
        key: Key,
        about: Mapping[str, str],
        *,
        samples: int,
        views: int,
        in_use: int,
        fields: Mapping[str, Field],
    ) -> None:
        self._directory, self._key, self._about, self._fields = directory, key, about, fields
        self._samples, self._views = samples, views
        self._rows_in_use = samples * in_use
        self._stores: dict[tuple[str, str], Store] = {}
        self._tables: dict[str, Mapping[str, Tensor]] = {}  # on the device, by precision
        self._warned = False

    def rows(self, index: Tensor, view: Tensor) -> NDArray[np.int64]:
        """Where in the files the answers for samples in views are: (B,).

        Views that come into use early lie together, so that a file is filled from its front. After a view
        beyond those that were named, all views are in use.

        Raises:
            LimbeckError: for an index that the data does not have.
        """
        positions = index.cpu()
        if len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < self._samples:
            raise LimbeckError(
                f"the index of a batch runs from {int(positions.min())} to {int(positions.max())}, but the "
                f"data that the teacher's answers are kept for has {self._samples} samples"
            )
        place = place_of(positions, view.cpu(), self._views)
        rows: NDArray[np.int64] = (place * self._samples + positions).numpy()
        if len(rows) and rows.max() >= self._rows_in_use:
            self._rows_in_use = self._samples * self._views
        return rows

    def row_bytes(self, field: str) -> int:
        """What an answer takes in the file of a field."""
        return Layout(self._fields[field].width).row_bytes

    def read(
        self, field: str, precision: str, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """The answers in some rows, (B, width), and which of them are there, (B,)."""
        return self._store(field, precision).read(rows)

    def write(self, field: str, precision: str, rows: NDArray[np.int64], values: NDArray[np.float16]) -> None:
        """Keeps answers, and warns once where they cannot be kept."""
        store = self._store(field, precision)
        store.write(rows, values)
        if store.problem and not self._warned:
            self._warned = True
            warnings.warn(
                f"the teacher's further answers are not kept: {str(self._directory)!r} cannot be written "
                f"({store.problem})",
                stacklevel=4,
            )

    def on_device(self, precision: str, index: Tensor, view: Tensor) -> dict[str, Tensor]:
        """The answers for samples in views by field, (B, width) each; nothing where there is no table."""
        table = self._tables.get(precision)
        if not table:
            return {}
        place = place_of(index, view, self._views)
        return {
            field: rows.view(-1, self._samples, rows.shape[1])[place, index] for field, rows in table.items()
        }

    def put_on(self, device: torch.device, precision: str, fields: Sequence[str]) -> None:
        """Makes the tables from which `on_device` reads, if all answers are there and the device has room."""
        stores = {field: self._store(field, precision) for field in fields}
        self._tables[precision] = resident(stores, self._rows_in_use, device)

    def drop_tables(self) -> None:
        """Takes the answers off the device; the files stay."""
        self._tables = {}

    def _store(self, field: str, precision: str) -> Store:
        if (field, precision) not in self._stores:
            point, width, probe, _ = self._fields[field]
            key = {**self._key, "field": field, "point": point, "precision": precision}
            path = path_of(self._directory, key, width, probe)
            self._stores[field, precision] = Store(path, key, width, self._about, probe)
        return self._stores[field, precision]
