"""Filling the cache of a teacher beforehand, so that no run waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from limbeck import data as sources
from limbeck.config import RunConfig
from limbeck.data import Source
from limbeck.data.views.order import nth_view
from limbeck.errors import LimbeckError
from limbeck.outputs import Batch, apply
from limbeck.runs import caching, networks
from limbeck.runs.arguments import RunArguments
from limbeck.runs.job import with_views
from limbeck.teachers import CachedTeacher
from limbeck.training import Trainer
from limbeck.training.choices import Choices, MemoryFormat, Precision
from limbeck.training.trials import first_line, try_channels_last


@dataclass(frozen=True)
class Filling:
    """How far it has come.

    Attributes:
        views: of each sample, that are to be there.
        samples: how many there are.
        done: answers that are there, of views * samples.
        asked: of them, those that the network was asked for just now.
    """

    views: int
    samples: int
    done: int
    asked: int


def fill(
    config: Path | None = None,
    *,
    teacher: str | Path | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
    views: int | None = None,
    cache_teacher: str | None = None,
    batch_size: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Filling]:
    """Asks the teacher about all training samples, in the views that a run with these settings draws among.

    What is there already is not asked for again, so it may be stopped and started at any time.

    Args:
        config: YAML file of a run; the other arguments override it, and are explained in `limbeck.distill`.
        cache_teacher: outputs that are kept; "logits" if neither it nor the config says.
    Yields: after every batch, how far it has come.
    Raises:
        LimbeckError: for data or a teacher that cannot be loaded, before the teacher is asked; when the disk
            is full.
    """
    made = RunArguments(
        config=config,
        student="<none>",
        teacher=teacher,
        data=data,
        data_dir=data_dir,
        views=views,
        cache_teacher=cache_teacher,
        batch_size=batch_size,
        settings=settings or {},
    ).made()
    if made.teacher is None:
        raise LimbeckError("a cache is filled with a teacher's answers; give one teacher (--teacher)")
    if not made.teacher.cached:
        made = made.model_copy(update={"teacher": made.teacher.model_copy(update={"cache": "logits"})})
    source = with_views(sources.load(made.data.name, made.data.dir), made)
    source.train.samples.check_batch(min(made.training.batch_size, len(source.train)))
    assert made.teacher is not None
    asked = caching.asked(networks.teacher(made.teacher, source), made.teacher, made, source, again=False)
    assert isinstance(asked, CachedTeacher)
    asked.width, asked.dense = source.task.width, source.task.dense
    asked.open(source.example(preparation=asked.preparation), made.teacher.cached)
    yield from _fill(asked, source, made)


def _fill(teacher: CachedTeacher, source: Source, config: RunConfig) -> Iterator[Filling]:
    setup = config.training
    trainer = Trainer(device=setup.device, precision=setup.precision, display=False)
    teacher.apply(lambda tensor: tensor.to(trainer.device))
    split, views = source.train.to(trainer.device), setup.views or source.views.count
    example = source.example(preparation=teacher.preparation)
    example = apply(lambda tensor: tensor.to(trainer.device), example)
    choices = _choices(teacher, Batch(example), trainer.precision, setup.memory_format)
    done = new = 0
    autocast = torch.autocast(trainer.device.type, torch.bfloat16)
    with autocast if trainer.precision == "bf16" else nullcontext():
        for place in range(views):
            for index in torch.split(split.index, setup.batch_size):
                view = nth_view(index, torch.full_like(index, place), source.views.count)
                missing = teacher.missing(index, view).to(trainer.device)
                if missing.any():
                    index, view = index[missing], view[missing]
                    rendered = split.samples.render(source.views, index, view)
                    inputs = teacher.preparation.read(rendered, split.samples, index)
                    choices.forward(teacher, Batch(inputs, index=index, view=view))
                    if teacher.missing(index, view).any():
                        raise LimbeckError(
                            "the cache takes no more answers; make room and give the same command again"
                        )
                done, new = done + len(missing), new + int(missing.sum())
                yield Filling(views, len(split), done, new)


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
