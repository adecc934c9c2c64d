"""A study rehearsed: each kind of cell is made before the first run, and a few of its steps are timed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.config import RunConfig, TeacherConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.outputs import Batch
from limbeck.runs import networks
from limbeck.runs.job import Job, loops, prepare
from limbeck.studies.cells import Cell, Cells
from limbeck.studies.steps import data_of, with_equal_steps
from limbeck.training import Loop, Trainer
from limbeck.training.length import Length
from limbeck.training.phases import PhaseLoop

STEPS = 4
"""Steps of each loop that are run, of which the first warms up."""


@dataclass(frozen=True)
class Kind:
    """The cells that differ in their seeds alone.

    Attributes:
        name: the key of its first cell without the seed.
        cells: how many there are.
        left: how many of them are not finished.
        epochs: of each, phases not counted.
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
        kinds.setdefault(cell.key.rpartition("-")[0] if cell.objective else cell.key, []).append(cell)
    found = []
    for name, members in kinds.items():
        left = [cell for cell in members if cell.key not in done]
        seconds = None
        if left:
            try:
                config = left[0].config
                if (source := loaded.get(str(config.data))) is None:
                    source = loaded[str(config.data)] = data_of(config)
                fresh, objects = _fresh(left[0], source)
                config = with_equal_steps(fresh, left[0].steps_of, source)
                job = prepare(config, objects)
                seconds = _seconds(job, config) if timed else None
            except LimbeckError as error:
                raise LimbeckError(f"{left[0].key}: {error}") from None
        epochs = members[0].config.training.epochs
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


def _seconds(job: Job, config: RunConfig) -> float | None:
    """The seconds of a run by some steps of each of its loops; None where these steps alone do not run."""
    setup = config.training
    trainer = Trainer(
        device=setup.device,
        precision=setup.precision,
        memory_format=setup.memory_format,
        accumulation=setup.accumulation,
        clip=setup.clip,
        seed=config.seed,
        display=False,
    )
    shorts = [_Short(loop) for loop in loops(job, trainer, lambda epoch: None)]
    try:
        trainer.fit(job.distiller, shorts)
    except (LimbeckError, RuntimeError):  # a phase may need more than some steps to be of use
        return None
    return sum(short.seconds for short in shorts)


class _Short(Loop):
    """Some steps of a loop, timed as their batches are asked for."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(loop.name, 1, loop.schedule, seed=loop.seed)
        self._loop, self._times = loop, list[float]()
        per_epoch = len(loop.batches(0))  # type: ignore[arg-type] # batches have a length
        self._all = Length.of(per_epoch, loop.epochs, loop.max_steps).total

    @property
    def seconds(self) -> float:
        """Of the whole loop: the fastest step times their number."""
        steps = [after - before for before, after in zip(self._times[1:], self._times[2:], strict=False)]
        return min(steps, default=0.0) * self._all

    def open(self) -> AbstractContextManager[tuple[nn.Module, torch.optim.Optimizer]]:
        return self._loop.open()

    def batches(self, epoch: int) -> Iterable[object]:
        return _Timed(self._loop.batches(epoch), self._times)

    def rows(self, batch: Batch) -> Tensor | int | None:
        return self._loop.rows(batch)

    def answered(self, batch: Batch) -> Mapping[str, Tensor]:
        return self._loop.answered(batch)

    def trained(self, setting: str, line: Mapping[str, Any]) -> None:
        if isinstance(self._loop, PhaseLoop):
            self._loop.fill()  # and nothing goes into the cache of phases

    def finish(self) -> None:
        self._loop.finish()


class _Timed:
    """Some batches, with the times at which they were asked for."""

    def __init__(self, batches: Iterable[object], times: list[float]) -> None:
        self._batches, self._times = batches, times
        self._count = min(STEPS, len(batches))  # type: ignore[arg-type] # batches have a length

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[object]:
        for batch in islice(self._batches, self._count):
            self._times.append(time.perf_counter())
            yield batch
        self._times.append(time.perf_counter())
