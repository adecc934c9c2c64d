"""A study's finished cells at an address: copied up as they come, they count wherever the study runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from limbeck import urls
from limbeck.errors import LimbeckError
from limbeck.studies.cells import Cell, Cells
from limbeck.studies.records import CellRecord, Records

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

    def fetch_teachers(
        self, cells: Cells, known: Mapping[str, CellRecord], note: Callable[[str], None]
    ) -> None:
        """Copies the runs of teachers that unfinished students need, so that none is trained twice.

        Args:
            cells: that are to be run.
            known: the records that there are.
            note: is told what is copied.
        """
        wanted = {need.key for cell in cells.students if cell.key not in known for need in _above(cell)}
        for cell in cells.teachers:
            if cell.key in wanted and not cell.path.exists() and urls.exists(self._file(cell)):
                note(f"{cell.key} is copied from {self.url}")
                partial = cell.path.with_name(f".{cell.path.name}.partial")
                urls.download(self._place(cell), partial)
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


def _above(cell: Cell) -> list[Cell]:
    return [each for need in cell.needs for each in (need, *_above(need))]
