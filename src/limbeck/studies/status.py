"""How far a study has come, read from its files while it runs, or after it has been stopped."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from filelock import FileLock, Timeout

from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.runs.job_data import data_of
from limbeck.studies.cells import Cell, Cells
from limbeck.studies.records import CellRecord, Records
from limbeck.studies.running import Order
from limbeck.studies.steps import epochs_of, with_equal_steps
from limbeck.studies.study import Figures

State: TypeAlias = Literal["finished", "running", "failed", "begun", "waiting"]


@dataclass(frozen=True)
class CellStatus:
    """One cell.

    Attributes:
        cell: the cell.
        state: "running" while a process is at it, "begun" where one has stopped.
        epochs: epochs of the student's training that are over.
        planned: how many it has in all, where nothing stops it early.
        log: the log of its failure.
    """

    cell: Cell
    state: State
    epochs: int
    planned: int
    log: Path | None = None


@dataclass(frozen=True)
class Status:
    """All cells, and what is left.

    Attributes:
        cells: teachers first.
        seconds: that are left for one process, by the runs that are finished; None where none is, or where a
            kind of cell was never run.
    """

    cells: tuple[CellStatus, ...]
    seconds: float | None

    def count(self, state: State) -> int:
        """How many cells are in a state."""
        return sum(each.state == state for each in self.cells)


def status(cells: Cells, home: Path, records: Records) -> Status:
    """How far a study has come.

    Args:
        cells: of the study.
        home: its directory.
        records: the file of its figures.
    """
    known = records.read()
    found, loaded, counted = list[CellStatus](), dict[str, Source](), dict[str, int]()

    def planned(cell: Cell) -> int:
        config, name = cell.config, str(cell.config.data)
        if config.training.max_steps is None:
            return config.training.epochs
        if cell.kind not in counted:
            if name not in loaded:
                loaded[name] = data_of(config)
            settled = with_equal_steps(config, cell.steps_of, loaded[name])
            counted[cell.kind] = epochs_of(settled, loaded[name])
        return counted[cell.kind]

    for cell in cells.all:
        if cell.key in known:
            epochs = _epochs(cell)
            found.append(CellStatus(cell, "finished", epochs, epochs))
        else:
            found.append(_unfinished(cell, planned(cell), Order(cell, home, records.path, Figures())))
    return Status(tuple(found), _left(found, known))


def _unfinished(cell: Cell, planned: int, order: Order) -> CellStatus:
    over = _epochs(cell)
    if _locked(order.lock):
        return CellStatus(cell, "running", over, planned)
    if order.log.exists():
        return CellStatus(cell, "failed", over, planned, order.log)
    begun = (cell.path / "config.yaml").exists()
    return CellStatus(cell, "begun" if begun else "waiting", over, planned)


def _locked(lock: Path) -> bool:
    """Whether a process holds the lock; a process that was killed holds none."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def _epochs(cell: Cell) -> int:
    try:
        lines = cell.run.history
    except LimbeckError:
        return 0
    return max((line["epoch"] for line in lines if line["phase"] == "training"), default=0)


def _left(cells: Sequence[CellStatus], known: Mapping[str, CellRecord]) -> float | None:
    """The seconds that are left: for each cell the median of its kind, less the epochs that are over."""
    by_kind: dict[tuple[str, str | None], list[float]] = {}
    for each in cells:
        if (record := known.get(each.cell.key)) is not None:
            kind = (each.cell.group, each.cell.objective)
            by_kind.setdefault(kind, []).append(record.result.seconds)
    students = [time for (_, name), times in by_kind.items() if name is not None for time in times]
    total = 0.0
    for each in cells:
        if each.state == "finished":
            continue
        times = by_kind.get((each.cell.group, each.cell.objective)) or (
            students if each.cell.objective else []
        )
        if not times:
            return None
        total += statistics.median(times) * (1 - each.epochs / each.planned)
    return total
