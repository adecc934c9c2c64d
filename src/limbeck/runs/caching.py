"""The teacher of a run as it is asked: live, or through a cache; and what is said of that."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from limbeck.config import RunConfig, TeacherConfig
from limbeck.data import Source
from limbeck.distiller import Distiller
from limbeck.errors import LimbeckError
from limbeck.methods.base import taught
from limbeck.runs import networks, preparations
from limbeck.runs.schedules import Schedule, at, schedule_of
from limbeck.sides import Side
from limbeck.teachers import CachedTeacher, CheckpointTeacher, LiveTeacher, Teacher
from limbeck.teachers.cached import FIELDS, MAPS, ShortOfRoom
from limbeck.teachers.ranks import TOP

MOST_VIEWS = 4096
"""Views of a sample that a cache is of use for: of more, hardly one is drawn twice."""

IN_UNITS = "in the units of the targets, of which a cache keeps three digits"
"""What keeps the answers of a task of values from being cached."""


def asked(
    network: nn.Module, teacher: TeacherConfig, config: RunConfig, source: Source, *, again: bool
) -> Teacher:
    """The teacher as an objective asks it, with a cache if the config says so.

    Args:
        network: the teacher's network.
        teacher: what the config says of it.
        config: the run's.
        source: what the teacher is asked about.
        again: whether the network can be made again from the config, so that it need not stay in memory.
    Raises:
        LimbeckError: for a cache of more views than would ever come twice, of logits that are values, and of
            a schedule of checkpoints.
    """
    if (schedule := schedule_of(teacher.model)) is not None:
        return _growing(network, teacher, schedule, source)
    if not teacher.cached:
        if teacher.cache_budget is not None:
            raise LimbeckError(
                f"cache_budget={teacher.cache_budget} (--cache-budget) bounds a cache, and there is none; "
                "say what it keeps, too, for example cache_teacher=all (--cache-teacher)"
            )
        return LiveTeacher(network, teacher.features)
    if (config.training.views or source.views.count) > MOST_VIEWS:
        raise LimbeckError(
            f'of the views "{source.views}" hardly one comes twice, so a cache of the teacher would be of no '
            "use; draw among a few of each sample, for example views=16"
        )
    kept = teacher.cached
    if "logits" in kept and source.task.scores == "values":
        if MAPS not in kept:
            raise LimbeckError(
                f"the answers of a network for {source.task.name} are {IN_UNITS}; leave out cache_teacher "
                "(--cache-teacher), or keep the embedding alone"
            )
        kept = tuple(field for field in kept if field != "logits")
    return CachedTeacher(
        network,
        source,
        kept,
        views=config.training.views,
        top=teacher.top or TOP,
        preparation=preparations.preparation(teacher, source.task),
        features=teacher.features,
        rebuild=(lambda: networks.teacher(teacher, source)) if again else None,
        budget=teacher.budget,
    )


def _growing(
    network: nn.Module, config: TeacherConfig, schedule: Schedule, source: Source
) -> CheckpointTeacher:
    """A schedule of checkpoints, each read as the network of its file would be made."""
    if config.cached:
        raise LimbeckError(
            f"{config.model} answers with another checkpoint every few epochs, so that hardly an answer "
            "would be asked for again; leave out cache_teacher (--cache-teacher)"
        )
    return CheckpointTeacher(
        network,
        schedule.by_fraction,
        read=lambda file: networks.teacher(at(config, schedule.run, file), source).state_dict(),
        ahead=schedule.ahead,
        features=config.features,
    )


@contextmanager
def untold() -> Iterator[None]:
    """A context in which no warning says what a budget has no room for, as it is told otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ShortOfRoom)
        yield


def note(distiller: Distiller, name: str, config: TeacherConfig) -> str:
    """Whether a run with a cache asks its teacher through it; if not everywhere, for whose sake.

    Args:
        distiller: of the run.
        name: the teacher's.
        config: what the config says of it.
    """
    teacher = distiller.teachers[name]
    assert isinstance(teacher, CachedTeacher)
    if teacher.shortage:
        return teacher.shortage
    kept: list[str] = []
    live: list[tuple[str, Sequence[Side]]] = []
    for fields, sides in distiller.asked:
        if name not in fields:
            continue
        some = sides.get(name, ())
        whole, others = teacher.kept_of(fields[name], some)
        kept += [*whole, *(side.field for side in others)]
        if not whole and not others:
            live += [(field, some) for field in fields[name] if not teacher.serves(field, some)]
    if not kept and not live:
        return "training reads nothing of the teacher, so nothing of it is kept"
    kept = sorted(set(kept), key=[*FIELDS, *kept].index)
    names = " and ".join([", ".join(kept[:-1]), *kept[-1:]] if kept[1:] else kept)
    said = f"the teacher's {names} are kept, and read back ever after"
    if not live:
        return said
    field, sides_there = live[0]
    reader = _reader(distiller, name, field)
    if kept:
        return f"{said}; where {reader} reads its {field}, it is asked live"
    remedy = _remedy(distiller, field, sides_there, config)
    return f"the teacher is asked live: {reader} reads its {field}{remedy}"


def _reader(distiller: Distiller, name: str, field: str) -> str:
    """The method that reads a field of a teacher."""
    return next(
        method.name
        for method, given in taught(distiller.objective)
        if field in method.reads.teacher
        and name in (method.reads.teachers or (given or distiller.teachers.first,))
    )


def _remedy(distiller: Distiller, field: str, sides: Sequence[Side], config: TeacherConfig) -> str:
    """What would have a cache keep a field, if anything."""
    if field == "logits" and distiller.task.scores == "values":
        return f", {IN_UNITS}"
    if field in FIELDS:
        return "; cache_teacher=both (--cache-teacher) would keep that too"
    if not any(side.field == field for side in sides):
        return ", which no cache keeps"
    if MAPS in config.cached:
        return ", which no cache keeps of texts"
    return "; cache_teacher=all (--cache-teacher) would keep that too"
