"""Runs the cells of a study: each once, an interrupted one from where it was, a failed one once more."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from limbeck import tasks
from limbeck.config import RunConfig, make_config
from limbeck.errors import LimbeckError
from limbeck.files import parse_json, write_text
from limbeck.runs import Run, distill, train
from limbeck.runs.directory import Report, write_json
from limbeck.runs.job_data import data_of
from limbeck.runs.recipe import settings
from limbeck.studies.cells import Cell, Cells, slug
from limbeck.studies.measured import lacks, record
from limbeck.studies.records import CellRecord, Records, changed
from limbeck.studies.steps import all_labeled, with_equal_steps
from limbeck.studies.study import Figures

TRIES = 2
"""How often a cell is tried before it counts as failed."""


@dataclass(frozen=True)
class Order:
    """A cell to be run, with all that a process needs for it.

    Attributes:
        cell: the cell.
        home: the directory of the study.
        records: the file of the study's figures.
        figures: what is measured when it is finished.
        report: a function that writes the page of its run; no page is written if None.
        complete: data sets that cells before it have found to have a label for each training sample, as
            configs name them; where it is among them, its data need not be looked at before its run.
    """

    cell: Cell
    home: Path
    records: Path
    figures: Figures
    report: Report | None = None
    complete: set[str] = field(default_factory=set, compare=False)

    @property
    def log(self) -> Path:
        """Where the log of its failure goes."""
        return self.home / "logs" / f"{slug(self.cell.key)}.log"

    @property
    def lock(self) -> Path:
        """A file that is locked while some process runs the cell."""
        return self.home / "locks" / f"{slug(self.cell.key)}.lock"


@dataclass(frozen=True)
class Outcome:
    """How a cell went.

    Attributes:
        key: of the cell.
        record: what came of it; None if it failed or another process is at it.
        log: the log of a failure; None if it did not fail.
    """

    key: str
    record: CellRecord | None = None
    log: Path | None = None


class Launcher(Protocol):
    """What has cells run, somewhere."""

    def __call__(self, orders: Sequence[Order]) -> Iterator[Outcome]:
        """Runs cells that need nothing of each other; gives each outcome as it comes."""


def here(orders: Sequence[Order]) -> Iterator[Outcome]:
    """The launcher that runs cells in this process, one after the other."""
    yield from map(carried_out, orders)


def carried_out(order: Order) -> Outcome:
    """Runs a cell and measures it; tries twice, and writes a log where that does not help.

    A cell that another process is at is left to it; a teacher is waited for.
    """
    cell = order.cell
    order.lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(order.lock, timeout=0 if cell.objective else -1):
            there = Records(order.records).read().get(cell.key)
            if there is not None and cell.run.finished and not lacks(there, order.figures):
                return Outcome(cell.key, there)  # another process came first
            for attempt in range(1, TRIES + 1):
                try:
                    _run(order)
                    found = record(cell, order.figures)
                except Exception as error:  # whatever it is, the other cells go on
                    head = f"{cell.key}, attempt {attempt} of {TRIES}: {error}\n\n"
                    before = order.log.read_text(encoding="utf-8") if attempt > 1 else ""
                    write_text(order.log, f"{before}{head}{traceback.format_exc()}\n")
                else:
                    order.log.unlink(missing_ok=True)
                    return Outcome(cell.key, found)
            return Outcome(cell.key, log=order.log)
    except Timeout:
        return Outcome(cell.key)


def _run(order: Order) -> None:
    cell, run = order.cell, order.cell.run
    if run.finished:
        return
    begun = (cell.path / "config.yaml").exists()
    config = None if begun else _settled(order)
    done(cell.path, taught=bool(cell.config.taught_by), config=config, report=order.report)


def done(path: Path, *, taught: bool, **given: Any) -> Run:
    """The run in a directory: it begins, or goes on, or has been finished already.

    Args:
        path: the directory.
        taught: whether `distill` runs it, or else `train`.
        given: what that is told besides.
    """
    run: Callable[..., Run] = distill if taught else train
    return run(**{"display": False, **given}, out=path, resume=(path / "config.yaml").exists())


def _settled(order: Order) -> RunConfig:
    """The config of a cell, with as many steps as the objectives that need no labels take."""
    cell, data = order.cell, str(order.cell.config.data)
    given = cell.config.training.samples_per_epoch is not None
    if cell.steps_of is None or given or data in order.complete:
        return cell.config
    source = data_of(cell.config)
    if all_labeled(source):
        order.complete.add(data)
    return with_equal_steps(cell.config, cell.steps_of, source)


@dataclass(frozen=True)
class Progress:
    """How far a study has come.

    Attributes:
        finished: keys of the cells that have a record.
        failed: logs of those that failed, by key.
        elsewhere: keys of those that other processes are at.
        waiting: keys of those that could not be run, because a teacher of theirs failed or is not done.
    """

    finished: tuple[str, ...]
    failed: Mapping[str, Path]
    elsewhere: tuple[str, ...]
    waiting: tuple[str, ...]


def run_study(
    cells: Cells,
    home: Path,
    records: Records,
    figures: Figures,
    *,
    launcher: Launcher = here,
    report: Report | None = None,
    note: Callable[[str], None] = lambda text: None,
    keep: Callable[[Cell, CellRecord], None] = lambda cell, record: None,
) -> Progress:
    """Runs what is not finished of a study; may be stopped and called again.

    Args:
        cells: what is run.
        home: the directory of the study.
        records: the file of its figures; a cell that is there is not run again.
        figures: what is measured of each finished cell.
        launcher: has the cells run.
        report: a function that writes the page of each run.
        note: is told how each cell did.
        keep: is given each cell that is finished, once its record is written. A LimbeckError that it raises
            is noted, and the study goes on.
    Raises:
        LimbeckError: for cells that were begun with other settings; nothing is run then.
    """
    begin(cells, home, records)
    known = records.read()
    todo = {cell.key for cell in cells.all if not _done(cell, known, figures)}
    needed = {need.key for cell in cells.students if cell.key in todo for need in cell.above}
    again = {cell.key for cell in cells.teachers if cell.key in needed and not cell.run.finished}
    failed: dict[str, Path] = {}
    elsewhere: list[str] = []
    waiting: list[str] = []
    complete: set[str] = set()
    for wave in _waves(cells):
        orders = []
        for cell in wave:
            if cell.key not in todo | again:
                continue
            if any(need.key in (*failed, *elsewhere, *waiting) for need in cell.needs):
                waiting.append(cell.key)
            else:
                orders.append(Order(cell, home, records.path, figures, report, complete))
        by_key = {cell.key: cell for cell in wave}
        for number, outcome in enumerate(launcher(orders), start=1):
            if outcome.log is not None:
                failed[outcome.key] = outcome.log
                note(f"{outcome.key} failed; its log is {str(outcome.log)!r}")
            elif outcome.record is None:
                elsewhere.append(outcome.key)
            else:
                if outcome.key not in known or outcome.key in todo:
                    records.add({outcome.key: outcome.record})
                    try:
                        keep(by_key[outcome.key], outcome.record)
                    except LimbeckError as error:  # the record is written, and the other cells go on
                        note(f"{outcome.key} is finished and could not be kept: {error}")
                note(f"{number}/{len(orders)} {outcome.key}: {said(outcome.record)}")
    there = records.read()
    finished = tuple(cell.key for cell in cells.all if cell.key in there)
    return Progress(finished, failed, tuple(elsewhere), tuple(waiting))


def said(record: CellRecord) -> str:
    """The first metric of a cell, on the test split or else on validation."""
    metric = tasks.from_record(record.result.task).primary
    for split, found in record.result.metrics.by_split().items():
        return f"{split} {metric.label} {metric.show(found[metric.name])}"
    return "not measured"


def begin(cells: Cells, home: Path, records: Records) -> None:
    """Writes down what each cell is, and refuses to go on with cells that were begun as something else.

    Raises:
        LimbeckError: listing the cells that changed.
    """
    begun = check_unchanged(cells, home, records)
    write_json(home / "study.json", {**begun, **{cell.key: cell.identity for cell in cells.all}})


def check_unchanged(cells: Cells, home: Path, records: Records) -> dict[str, Any]:
    """What the cells were when the study was begun, by key.

    Raises:
        LimbeckError: listing the cells that have changed since.
    """
    known = {key: record.identity for key, record in records.read().items()}
    file = home / "study.json"
    begun: dict[str, Any] = parse_json(file.read_text(encoding="utf-8")) if file.exists() else {}
    known |= {
        cell.key: begun[cell.key]
        for cell in cells.all
        if cell.key in begun and cell.key not in known and (cell.path / "config.yaml").exists()
    }
    lines = [*changed(cells.all, known), *_other_runs(cells, known)]
    if lines:
        which = "this cell was" if len(lines) == 1 else f"these {len(lines)} cells were"
        raise LimbeckError(
            f"the study has changed since {which} begun; change it back, choose "
            f"another directory (--out), or remove them from {str(home)!r} and {str(records.path)!r}:\n  "
            + "\n  ".join(lines)
        )
    return begun


def _other_runs(cells: Cells, known: Mapping[str, Any]) -> Iterator[str]:
    """The directories of cells that hold runs of which no record says what they were."""
    for cell in cells.all:
        if cell.key in known or not (cell.path / "config.yaml").exists():
            continue
        there, here = (settings(each) for each in (make_config(cell.path / "config.yaml"), cell.config))
        for key in {**there, **here}:
            resolved = (key == "objective" and here[key] is None) or (
                key == "training.samples_per_epoch" and key not in here and cell.steps_of is not None
            )
            if there.get(key) != here.get(key) and not resolved:
                yield f"{cell.key}: {key} was {there.get(key)!r} and is {here.get(key)!r}"
                break


def _done(cell: Cell, known: Mapping[str, CellRecord], figures: Figures) -> bool:
    """Whether there is nothing left to do for a cell; figures of a run that is gone are not asked for."""
    found = known.get(cell.key)
    return found is not None and not (lacks(found, figures) and cell.run.finished)


def _waves(cells: Cells) -> Iterable[list[Cell]]:
    """The cells in stretches of which none needs another of the same stretch."""
    depth: dict[str, int] = {}
    for cell in cells.teachers:
        depth[cell.key] = 1 + max((depth[need.key] for need in cell.needs), default=0)
    for level in range(1, max(depth.values(), default=0) + 1):
        yield [cell for cell in cells.teachers if depth[cell.key] == level]
    yield list(cells.students)
