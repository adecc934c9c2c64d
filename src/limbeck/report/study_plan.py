"""What a study takes and how far it has come, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from limbeck.durations import duration
from limbeck.report.table import Table
from limbeck.studies.rehearsal import Kind
from limbeck.studies.status import Status
from limbeck.studies.study import Study
from limbeck.tasks.wording import Cell


def plan_table(study: Study, kinds: Sequence[Kind]) -> Table:
    """Runs, epochs and estimated time of each kind of cell, and of all that are left.

    Args:
        study: what is planned.
        kinds: of its cells.
    """
    rows: list[list[Cell]] = [
        [
            kind.name,
            kind.cells,
            kind.left,
            kind.epochs * kind.left,
            None if kind.seconds is None else duration(kind.seconds),
            None if kind.seconds is None else f"{kind.seconds * kind.left / 3600:.2f}",
        ]
        for kind in kinds
    ]
    known = [(kind.seconds or 0) * kind.left for kind in kinds]
    left = sum(kind.left for kind in kinds)
    rows.append(
        [
            "all",
            sum(kind.cells for kind in kinds),
            left,
            sum(kind.epochs * kind.left for kind in kinds),
            None,
            f"{sum(known) / 3600:.2f}",
        ]
    )
    notes = [
        "Estimated by a few steps of each kind of run with a live teacher, in this process: validation, "
        "measuring and the answers that a cache saves are not counted."
    ]
    if untimed := [kind.name for kind in kinds if kind.left and kind.seconds is None]:
        notes.append(f"A few steps alone do not run for {', '.join(untimed)}, which are missing in the sum.")
    if study.note:
        notes.append(study.note)
    columns = ["cells", "runs", "left", "epochs left", "a run", "hours left"]
    return Table(study.question, columns, rows, " ".join(notes))


def status_table(found: Status) -> Table:
    """Each cell that is not finished, and what is left of all."""
    rows: list[list[Cell]] = [
        [each.cell.key, each.state, f"{each.epochs} of {each.planned}", _log(each.log)]
        for each in found.cells
        if each.state != "finished"
    ]
    total = len(found.cells)
    notes = f"{found.count('finished')} of {total} cells are finished, {found.count('failed')} failed."
    if found.seconds is None:
        notes += " The time left is not known until each kind of run has been finished once."
    elif rows:
        notes += f" About {duration(found.seconds)} are left for one process, by the runs that are finished."
    return Table("What is left", ["cell", "state", "epochs", "log"], rows, notes)


def _log(log: object) -> str | None:
    return None if log is None else str(log)
