"""What a cache would take on disk, and how long its filling would last, before it is filled."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from limbeck.runs.arguments import RunArguments
from limbeck.runs.asking import Asking, in_precision, stretches
from limbeck.training.choices import Choices

MEASURED = 3
"""Batches by which the time of a filling is estimated, after one that warms up."""


@dataclass(frozen=True)
class Planned:
    """What a cache would take and its filling last.

    Attributes:
        bytes: of an answer, by field or by what is kept of one.
        samples: how many training samples there are.
        views: of each of them, that a run draws among.
        kept: of these views, those that there is room for.
        seconds: what a sample takes, by a few forwards of the teacher.
        shortage: a sentence on what there is no room for; empty where there is room for all.
    """

    bytes: Mapping[str, int]
    samples: int
    views: int
    kept: int
    seconds: float
    shortage: str


def plan(given: RunArguments) -> Iterator[Planned]:
    """What `fill` would do with these arguments; nothing is kept.

    Yields: what each phase of the objective that asks for something else would take, and then the training.
    Raises:
        LimbeckError: as `fill`, but for a budget.
    """
    for asking, choices in stretches(given):
        teacher = asking.teacher
        sizes, samples = teacher.bytes_of_view(), len(asking.split)
        yield Planned(
            {name: size // samples for name, size in sizes.items()},
            samples,
            asking.views,
            min(teacher.views_kept, asking.views),
            _seconds(asking, choices),
            teacher.shortage,
        )


def _seconds(asking: Asking, choices: Choices) -> float:
    """What a sample takes: views are made of some, and the network is asked about them."""
    size = asking.config.training.batch_size
    chosen = torch.split(asking.split.index[: (1 + MEASURED) * size], size)
    times = []
    with in_precision(asking.trainer):
        for index in chosen:
            begun = time.perf_counter()
            answer = choices.forward(asking.teacher, asking.batch(index, torch.zeros_like(index), keep=False))
            answer.logits.sum().item()  # a GPU is waited for
            times.append((time.perf_counter() - begun) / len(index))
    return statistics.median(times[1:] or times)  # the first warms up
