"""A teacher that is asked beforehand, opened for all that a run will ask of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from limbeck import data as sources
from limbeck.config import RunConfig
from limbeck.data import Source, Split
from limbeck.errors import LimbeckError
from limbeck.outputs import Batch, apply
from limbeck.runs import caching, language, networks
from limbeck.runs.arguments import RunArguments
from limbeck.runs.job import prepare
from limbeck.runs.job_data import with_views
from limbeck.runs.pair_teachers import scores_pairs
from limbeck.sides import Side
from limbeck.teachers import CachedTeacher
from limbeck.teachers.cached import MAPS
from limbeck.training import Trainer
from limbeck.training.choices import Choices, MemoryFormat, Precision, autocast
from limbeck.training.trials import first_line, try_channels_last


@dataclass(frozen=True)
class Asking:
    """A teacher, what it is asked about, and how."""

    teacher: CachedTeacher
    source: Source
    split: Split
    config: RunConfig
    trainer: Trainer

    @property
    def views(self) -> int:
        """How many views of each sample a run draws among."""
        return self.config.training.views or self.source.views.count

    def batch(self, index: Tensor, view: Tensor, *, keep: bool = True) -> Batch:
        """Some samples in views; without their numbers, so that nothing is kept, if so wanted."""
        rendered = self.split.samples.render(self.source.views, index, view)
        inputs = self.teacher.preparation.read(rendered, self.split.samples, index)
        return Batch(inputs, index=index, view=view) if keep else Batch(inputs)


def in_precision(trainer: Trainer) -> AbstractContextManager[object]:
    """A context in which networks compute as in a run."""
    return autocast(trainer.precision, trainer.device.type)


def keeping(given: RunArguments) -> RunConfig:
    """What is asked for, with a teacher of which something is kept.

    Raises:
        LimbeckError: for no teacher, or several.
    """
    made = replace(given, student=given.student or "<none>").made()
    if made.teacher is None:
        raise LimbeckError("a cache is filled with a teacher's answers; give one teacher (--teacher)")
    if not made.teacher.cached:
        made = made.model_copy(update={"teacher": made.teacher.model_copy(update={"cache": "logits"})})
    return made


def stretches(given: RunArguments) -> Iterator[tuple[Asking, Choices]]:
    """The teacher, opened for each phase and then for the training, but once for what is the same."""
    made = keeping(given)
    assert made.teacher is not None
    if MAPS in made.teacher.cached:
        teacher, source, split, needs = _of_objective(given)
    else:
        taught_by = made.teacher
        source = sources.load(
            made.data.name, made.data.dir, lambda: language.tokens_of(made.student, taught_by)
        )
        source = with_views(source, made)
        if scores_pairs(made.teacher, source):
            raise LimbeckError(
                f"{made.teacher.model} is a cross-encoder, and what its cache takes is not planned; fill it, "
                "limbeck cache fill"
            )
        split = source.train
        found = caching.asked(networks.teacher(made.teacher, source), made.teacher, made, source, again=False)
        assert isinstance(found, CachedTeacher)
        found.width, found.dense = source.task.width, source.task.dense
        teacher, needs = found, [(made.teacher.cached, ())]
    split.samples.check_batch(min(made.training.batch_size, len(split)))
    trainer = Trainer(device=made.training.device, precision=made.training.precision, display=False)
    teacher.apply(lambda tensor: tensor.to(trainer.device))
    example = source.example(preparation=teacher.preparation)
    example = apply(lambda tensor: tensor.to(trainer.device), example)
    asking = Asking(teacher, source, split.to(trainer.device), made, trainer)
    choices = None
    for fields, sides in needs:
        teacher.sides = sides
        with caching.untold():
            teacher.open(example, fields)
        if choices is None:
            choices = _choices(teacher, Batch(example), trainer.precision, made.training.memory_format)
        yield asking, choices


def _of_objective(
    given: RunArguments,
) -> tuple[CachedTeacher, Source, Split, list[tuple[Sequence[str], tuple[Side, ...]]]]:
    """The teacher, the data, and what the phases and the training ask for that can be kept."""
    if given.student is None and given.config is None:
        raise LimbeckError(
            "what a cache keeps of maps depends on the student and the objective; give them (--student, "
            "--objective), or keep logits, embedding or both"
        )
    made = given.made()
    job = prepare(made)
    (name,) = job.distiller.teachers
    teacher = job.distiller.teachers[name]
    assert isinstance(teacher, CachedTeacher)
    needs: dict[tuple[object, ...], tuple[Sequence[str], tuple[Side, ...]]] = {}
    for fields, sides in job.distiller.asked:
        if name in fields and any(kept := teacher.kept_of(fields[name], sides.get(name, ()))):
            needs[kept] = fields[name], sides.get(name, ())
    if not needs:
        assert made.teacher is not None
        raise LimbeckError(caching.note(job.distiller, name, made.teacher))
    return teacher, job.source, job.split, list(needs.values())


def _choices(
    teacher: CachedTeacher, batch: Batch, precision: Precision, asked: MemoryFormat | Literal["auto"]
) -> Choices:
    """How the network computes: as in a run with a student of its kind, channels-last if that gains."""

    def failure_of(choices: Choices) -> str | None:
        try:
            choices.forward(teacher, batch)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            return first_line(error)
        return None

    choices, failure = try_channels_last(Choices(precision), asked, teacher.network, batch, failure_of)
    if failure and asked != "auto":
        raise LimbeckError(
            f"memory_format=channels_last: the teacher cannot take channels-last images: {failure}"
        )
    return choices
