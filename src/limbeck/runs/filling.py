"""Filling the cache of a teacher beforehand, so that no run waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from limbeck.data.views.order import nth_view
from limbeck.errors import LimbeckError
from limbeck.runs.arguments import RunArguments
from limbeck.runs.asking import Asking, stretches
from limbeck.training.choices import Choices


@dataclass(frozen=True)
class Filling:
    """How far it has come.

    Attributes:
        views: of each sample, that are to be there.
        samples: how many there are.
        done: answers that are there, of views * samples.
        asked: of them, those that the network was asked for just now.
        shortage: a sentence on what there is no room for; empty where there is room for all.
    """

    views: int
    samples: int
    done: int
    asked: int
    shortage: str = ""


def fill(
    config: Path | None = None,
    *,
    student: str | None = None,
    teacher: str | Path | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
    objective: str | None = None,
    views: int | None = None,
    cache_teacher: str | None = None,
    cache_budget: str | None = None,
    batch_size: int | None = None,
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
        objective=objective,
        views=views,
        cache_teacher=cache_teacher,
        cache_budget=cache_budget,
        batch_size=batch_size,
        settings=settings or {},
    )
    for asking, choices in stretches(given):
        if not asking.teacher.cached:
            raise LimbeckError(asking.teacher.shortage)
        yield from _fill(asking, choices)


def _fill(asking: Asking, choices: Choices) -> Iterator[Filling]:
    teacher, source, split = asking.teacher, asking.source, asking.split
    setup, device = asking.config.training, asking.trainer.device
    views = min(setup.views or source.views.count, teacher.views_kept)
    done = new = 0
    with asking.precision():
        for place in range(views):
            for index in torch.split(split.index, setup.batch_size):
                view = nth_view(index, torch.full_like(index, place), source.views.count)
                missing = teacher.missing(index, view).to(device)
                if missing.any():
                    index, view = index[missing], view[missing]
                    choices.forward(teacher, asking.batch(index, view))
                    if teacher.missing(index, view).any():
                        raise LimbeckError(
                            "the cache takes no more answers; make room and give the same command again"
                        )
                done, new = done + len(missing), new + int(missing.sum())
                yield Filling(views, len(split), done, new, teacher.shortage)
