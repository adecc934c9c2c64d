"""A study's finished cells at an address: copied up as they come, they count wherever the study runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from limbeck import urls
from limbeck.errors import LimbeckError
from limbeck.studies.cells import Cell, Cells
from limbeck.studies.records import CellRecord, Records
from limbeck.studies.running import Order
from limbeck.studies.study import Figures

RECORD = "cell.json"
"""The record of a cell, beside the files of its run; it is written last."""


@dataclass(frozen=True)
class Remote:
    """The address of a study, which holds the run directories of finished cells by their keys.

    Training itself needs a directory on this machine.

    Attributes:
        url: any that fsspec knows, such as `s3://bucket/runs/cifar`.
    """

    url: str

    def pull(self, cells: Cells, records: Records) -> None:
        """Adds the records of the cells that are finished there and not here.

        Raises:
            LimbeckError: for a record that is damaged.
        """
        known = records.read()
        missing = [cell for cell in cells.all if cell.key not in known]
        found = {cell.key: self._record(cell) for cell in missing if urls.exists(self._file(cell))}
        if found:
            records.add(found)

    def fetch_teachers(self, cells: Cells, home: Path, records: Records, note: Callable[[str], None]) -> None:
        """Copies the runs of teachers that unfinished students need, so that none is trained twice.

        A teacher that is finished there replaces a run of it here that is not.

        Args:
            cells: that are to be run.
            home: the directory of the study.
            records: the file of its figures.
            note: is told what is copied.
        """
        known = records.read()
        wanted = {need.key for cell in cells.students if cell.key not in known for need in cell.above}
        for cell in cells.teachers:
            if cell.key not in wanted or cell.run.finished or not urls.exists(self._file(cell)):
                continue
            lock = Order(cell, home, records.path, Figures()).lock
            lock.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(lock):
                if cell.run.finished:  # by another process in the meantime
                    continue
                note(f"{cell.key} is copied from {self.url}")
                partial = cell.path.with_name(f".{cell.path.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)  # of an earlier crash
                urls.download(self._place(cell), partial)
                shutil.rmtree(cell.path, ignore_errors=True)
                partial.replace(cell.path)

    def push(self, cell: Cell, record: CellRecord) -> None:
        """Copies a finished cell up, its record last."""
        urls.upload(cell.path, self._place(cell))
        urls.write_text(self._file(cell), record.model_dump_json() + "\n")

    def push_missing(self, cells: Cells, known: Mapping[str, CellRecord]) -> None:
        """Copies up what is finished here and not there, as after a run that lost its connection."""
        for cell in cells.all:
            if cell.key in known and cell.run.finished and not urls.exists(self._file(cell)):
                self.push(cell, known[cell.key])

    def _place(self, cell: Cell) -> str:
        return f"{self.url.rstrip('/')}/{cell.key}"

    def _file(self, cell: Cell) -> str:
        return f"{self._place(cell)}/{RECORD}"

    def _record(self, cell: Cell) -> CellRecord:
        file = self._file(cell)
        try:
            return CellRecord.model_validate_json(urls.read_text(file))
        except ValidationError as error:
            raise LimbeckError(f"{file!r} is no record of a cell: {error.errors()[0]['msg']}") from None
