"""Filling the cache of a teacher beforehand, so that no run waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck import data as sources
from limbeck.config import RunConfig
from limbeck.data import Source
from limbeck.data.views.order import nth_view
from limbeck.errors import LimbeckError
from limbeck.models.encoders import is_cross_encoder
from limbeck.runs.arguments import RunArguments
from limbeck.runs.asking import Asking, in_precision, keeping, stretches
from limbeck.runs.job_data import with_views
from limbeck.runs.pair_teachers import pair_teacher, scores_pairs
from limbeck.training import Trainer
from limbeck.training.choices import Choices

FULL = "the cache takes no more answers; make room and give the same command again"


@dataclass(frozen=True)
class Filling:
    """How far it has come.

    Attributes:
        views: of each sample, that are to be there.
        samples: how many there are; of a cross-encoder, pairs of a query and a candidate.
        done: answers that are there, of views * samples.
        asked: of them, those that the network was asked for just now.
        shortage: a sentence on what there is no room for; empty where there is room for all.
        of: what is counted, "samples" or "pairs".
    """

    views: int
    samples: int
    done: int
    asked: int
    shortage: str = ""
    of: str = "samples"


def fill(
    config: Path | None = None,
    *,
    student: str | None = None,
    teacher: str | Path | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
    task: str | None = None,
    objective: str | None = None,
    views: int | None = None,
    cache_teacher: str | None = None,
    cache_budget: str | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Filling]:
    """Asks the teacher about all training samples, in the views that a run with these settings draws among.

    What is there already is not asked for again, so it may be stopped and started at any time.

    Args:
        config: YAML file of a run; the other arguments override it, and are explained in `limbeck.distill`.
        student: the student, on which what is kept of maps depends; needed for cache_teacher="all" alone.
        objective: what is minimized, likewise.
        cache_teacher: outputs that are kept; "logits" if neither it nor the config says.
    Yields: after every batch, how far it has come; for each phase of the objective that asks for something
        else, and then for the training.
    Raises:
        LimbeckError: for data or a teacher that cannot be loaded, and a budget without room for a view,
            before the teacher is asked; when the disk is full.
    """
    given = RunArguments(
        config=config,
        student=student,
        teacher=teacher,
        data=data,
        data_dir=data_dir,
        task=task,
        objective=objective,
        views=views,
        cache_teacher=cache_teacher,
        cache_budget=cache_budget,
        batch_size=batch_size,
        device=device,
        settings=settings or {},
    )
    made = keeping(given)
    if (source := _source_of_pairs(made)) is not None:
        yield from _fill_pairs(made, source)
        return
    for asking, choices in stretches(given):
        if not asking.teacher.cached:
            raise LimbeckError(
                f"nothing is filled: {asking.teacher.needs}; give it more (--cache-budget), or take smaller "
                "inputs"
            )
        yield from _fill(asking, choices)


def _fill(asking: Asking, choices: Choices) -> Iterator[Filling]:
    teacher, source, split = asking.teacher, asking.source, asking.split
    setup, device = asking.config.training, asking.trainer.device
    views = min(asking.views, teacher.views_kept)
    done = new = 0
    with in_precision(asking.trainer):
        for place in range(views):
            for index in torch.split(split.index, setup.batch_size):
                view = nth_view(index, torch.full_like(index, place), source.views.count)
                missing = teacher.missing(index, view).to(device)
                if missing.any():
                    index, view = index[missing], view[missing]
                    choices.forward(teacher, asking.batch(index, view))
                    if teacher.missing(index, view).any():
                        raise LimbeckError(FULL)
                done, new = done + len(missing), new + int(missing.sum())
                yield Filling(views, len(split), done, new, teacher.shortage)


def _source_of_pairs(config: RunConfig) -> Source | None:
    """The data, if the teacher is a cross-encoder that scores its pairs."""
    assert config.teacher is not None
    if not is_cross_encoder(config.teacher.model):
        return None
    source = with_views(sources.load(config.data.name, config.data.dir), config)
    return source if scores_pairs(config.teacher, source) else None


def _fill_pairs(config: RunConfig, source: Source) -> Iterator[Filling]:
    """Asks a cross-encoder about all pairs of the training data."""
    assert config.teacher is not None
    setup = config.training
    trainer = Trainer(device=setup.device, precision=setup.precision, display=False)
    teacher = pair_teacher(config.teacher, source, pooled="embedding" in config.teacher.cached)
    teacher.apply(lambda tensor: tensor.to(trainer.device))
    size, done, new = len(teacher.pairs_known), 0, 0
    with in_precision(trainer):
        for places in torch.split(torch.arange(size), setup.batch_size):
            missing = int(teacher.missing(places, trainer.device).sum())
            teacher.ask(places, trainer.device)
            if teacher.missing(places, trainer.device).any():
                raise LimbeckError(FULL)
            done, new = done + len(places), new + missing
            yield Filling(1, size, done, new, of="pairs")
