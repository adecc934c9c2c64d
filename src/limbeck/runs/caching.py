"""The teacher of a run as it is asked: live, or through a cache; and what is said of that."""

from __future__ import annotations

from torch import nn

from limbeck.config import RunConfig, TeacherConfig
from limbeck.data import Source
from limbeck.distiller import Distiller
from limbeck.errors import LimbeckError
from limbeck.methods import Objective
from limbeck.methods.base import inner_first
from limbeck.runs import networks
from limbeck.runs.schedules import Schedule, at, schedule_of
from limbeck.teachers import CachedTeacher, CheckpointTeacher, LiveTeacher, Teacher
from limbeck.teachers.cached import FIELDS
from limbeck.teachers.ranks import TOP

MOST_VIEWS = 4096
"""Views of a sample that a cache is of use for: of more, hardly one is drawn twice."""


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
        return LiveTeacher(network, teacher.features)
    if (config.training.views or source.views.count) > MOST_VIEWS:
        raise LimbeckError(
            f'of the views "{source.views}" hardly one comes twice, so a cache of the teacher would be of no '
            "use; draw among a few of each sample, for example views=16"
        )
    if "logits" in teacher.cached and source.task.scores == "values":
        raise LimbeckError(
            f"the answers of a network for {source.task.name} are in the units of the targets, of which a "
            "cache keeps three digits; leave out cache_teacher (--cache-teacher), or keep the embedding alone"
        )
    return CachedTeacher(
        network,
        source,
        teacher.cached,
        views=config.training.views,
        top=teacher.top or TOP,
        preparation=networks.preparation(teacher, source.task),
        features=teacher.features,
        rebuild=(lambda: networks.teacher(teacher, source)) if again else None,
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


def note(distiller: Distiller, config: TeacherConfig) -> str:
    """Whether a run with a cache asks its teacher through it; if not everywhere, for whose sake."""
    stages = [distiller.reads.teacher, *(phase.reads.teacher for _, phase in distiller.phases)]
    served = {field for fields in stages if set(fields) <= set(config.cached) for field in fields}
    kept = " and ".join(field for field in config.cached if field in served)
    methods = [method for method in inner_first(distiller.objective) if not isinstance(method, Objective)]
    live = [
        (method.name, field)
        for method in methods
        for field in method.reads.teacher
        if field not in config.cached
    ]
    said = f"the teacher's {kept} are kept, and read back ever after"
    if not live:
        return said
    reader, field = live[0]
    if kept:
        return f"{said}; where {reader} reads its {field}, it is asked live"
    remedy = (
        "; cache_teacher=both (--cache-teacher) would keep that too"
        if field in FIELDS
        else ", which no cache keeps"
    )
    return f"the teacher is asked live: {reader} reads its {field}{remedy}"
