"""The supervision complexity of a run: how hard its targets are for its student, now and as it began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import nn

from limbeck import evaluation
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.evaluation import Contender
from limbeck.evaluation.results import Role, Supervision
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.models.factory import named_by
from limbeck.runs import networks, places
from limbeck.runs.directory import Run, is_imported
from limbeck.runs.schedules import at, schedule_of


def supervision(
    run: Run | None,
    source: Source,
    contenders: Mapping[Role, Contender],
    samples: int,
    ridge: float | None,
    seed: int,
    device: torch.device | str,
) -> tuple[Supervision, tuple[str, ...]]:
    """What `limbeck.evaluation.supervision` finds, and sentences on what was left out.

    Args:
        run: the run, which knows how its student began and which checkpoints taught it; None where other data
            than its own are measured on.
        source: the data.
        contenders: the student, and its teacher if there is one.
        samples, ridge, seed, device: as there.
    Raises:
        LimbeckError: as there.
    """
    student, teacher = contenders["student"], contenders.get("teacher")
    config = None if run is None or is_imported(run.path) else run.config
    initial: nn.Module | None = None
    notes: tuple[str, ...] = ()
    if run is not None and config is not None and not isinstance(student.network, GraftedStudent):
        try:
            initial = _initial(run, source)
        except LimbeckError as error:
            notes = (f"The student before its training is left out: {error}.",)
    found = evaluation.supervision(
        source,
        student,
        _taught(run, source, teacher) if teacher else (),
        initial=initial,
        samples=samples,
        ridge=ridge,
        seed=seed,
        device=device,
    )
    return found, notes


def _initial(run: Run, source: Source) -> nn.Module:
    """The student as it was before its training; fresh weights are a function of the run's seed."""
    config = places.located(run.config.student, run)
    if config.model.startswith("<"):
        raise LimbeckError(f"{config.model} was handed over as an object")
    with named_by(run.path):
        return networks.student(config, source, run.config.seed)


def _taught(run: Run | None, source: Source, teacher: Contender) -> Iterator[tuple[str, Contender]]:
    """Who taught, by name: the teacher, or each of the checkpoints that it was a schedule of."""
    taught_by = {} if run is None or is_imported(run.path) else run.config.taught_by
    config = next(iter(taught_by.values()), None)
    if run is None or config is None or (schedule := schedule_of(places.located(config, run).model)) is None:
        yield "teacher", teacher
        return
    for epochs, file in schedule.files.items():
        network = networks.teacher(at(config, schedule.run, file), source)
        yield f"teacher after {epochs} epochs", replace(teacher, network=network)
