"""A study rehearsed: each kind of cell is made before the first run, and a few of its steps are timed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from limbeck.config import RunConfig, TeacherConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.runs import networks
from limbeck.runs.job import Job, prepare
from limbeck.runs.job_data import data_of
from limbeck.runs.rehearsal import rehearsed
from limbeck.studies.cells import Cell, Cells
from limbeck.studies.steps import epochs_of, with_equal_steps


@dataclass(frozen=True)
class Kind:
    """The cells that differ in their seeds alone.

    Attributes:
        name: the key of its first cell without the seed.
        cells: how many there are.
        left: how many of them are not finished.
        epochs: of each that is left, phases not counted; 0 where none is.
        seconds: a run's, estimated; None where its steps were not timed.
    """

    name: str
    cells: int
    left: int
    epochs: int
    seconds: float | None


def rehearse(cells: Cells, finished: Iterable[str], *, timed: bool) -> list[Kind]:
    """Makes a cell of each kind, with fresh weights for teachers that are not trained yet.

    Args:
        cells: of a study.
        finished: keys of the cells that are not run again; a kind without others is neither made nor timed.
        timed: whether some steps are run and timed.
    Raises:
        LimbeckError: for whatever cannot work, naming the cell.
    """
    done, loaded = set(finished), dict[str, Source]()
    kinds: dict[str, list[Cell]] = {}
    for cell in cells.all:
        kinds.setdefault(cell.kind, []).append(cell)
    found = []
    for name, members in kinds.items():
        left = [cell for cell in members if cell.key not in done]
        epochs, seconds = 0, None
        if left:
            try:
                config = left[0].config
                if (source := loaded.get(str(config.data))) is None:
                    source = loaded[str(config.data)] = data_of(config)
                fresh, objects = _fresh(left[0], source)
                settled = with_equal_steps(fresh, left[0].steps_of, source)
                job = prepare(settled, objects)
                epochs = epochs_of(settled, source)
                seconds = _seconds(job) if timed else None
            except LimbeckError as error:
                raise LimbeckError(f"{left[0].key}: {error}") from None
        found.append(Kind(name, len(members), len(left), epochs, seconds))
    return found


def _fresh(cell: Cell, source: Source) -> tuple[RunConfig, dict[str, Any]]:
    """A cell's config, and fresh networks in place of the teachers that the study trains."""
    trained = {str(need.path): need.config.student for need in cell.needs}
    made: dict[str, nn.Module] = {}

    def fresh(name: str, teacher: TeacherConfig) -> TeacherConfig:
        if (student := trained.get(teacher.model)) is None:
            return teacher.model_copy(update={"cache": None})
        made[name] = networks.student(student, source, cell.config.seed)
        asked = {"model": f"<{student.model}>", "size": student.size, "features": student.features}
        return TeacherConfig(**asked, labels=teacher.labels, trust=True)

    config = cell.config
    changed = config.model_copy(
        update={
            "teacher": config.teacher and fresh("teacher", config.teacher),
            "teachers": {name: fresh(name, each) for name, each in config.teachers.items()},
        }
    )
    return changed, {"data": source, **({"teacher": made} if made else {})}


def _seconds(job: Job) -> float | None:
    """The seconds of a run by some steps of each of its loops; None where these steps alone do not run."""
    try:
        return sum(each.seconds for each in rehearsed(job)[0])
    except (LimbeckError, RuntimeError):  # a phase may need more than some steps to be of use
        return None
