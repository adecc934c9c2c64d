"""Runs whose network learned nothing: what is said as they end, and where they are to teach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from limbeck import tasks
from limbeck.config import TrainingConfig
from limbeck.data import Loader, Source
from limbeck.evaluation.measure import answer_of, inference
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.runs import preparations
from limbeck.runs.directory import Run
from limbeck.runs.result import DataResult, Metrics, Result

if TYPE_CHECKING:
    from limbeck.runs.job import Job  # which imports this

FEWEST = 64
"""Labels from which on it is certain enough whether a network is at chance."""
MOST, BATCH = 2000, 512
"""Training samples that a student is asked about where nothing was held out to measure it, and at a time."""


def at_chance(metrics: Metrics, data: DataResult, source: Source) -> bool:
    """Whether a network ended no better than one answer for all samples, on the split that counts.

    Args:
        metrics: of the network.
        data: the record of the data.
        source: the data itself.
    """
    on = judged_on(metrics, data)
    split = {"validation": source.validation, "test": source.test}.get(on or "")
    if on is None or split is None or not split.has_labels:
        return False
    return source.task.at_chance(metrics.on(on), split.targets)


def judged_on(metrics: Metrics, data: DataResult) -> str | None:
    """The split that counts: validation if it has enough labels, or else test; None if neither was measured.

    Args:
        metrics: of the network.
        data: the record of the data.
    """
    validation = metrics.validation and (data.measured["validation"] >= FEWEST or not metrics.test)
    return "validation" if validation else "test" if metrics.test else None


def note(result: Result, setup: TrainingConfig) -> str | None:
    """A sentence, without a full stop, on a run that ended at chance and what to try; None for any other.

    Args:
        result: the record of the run.
        setup: how it was trained.
    """
    if not result.at_chance:
        return None
    its, other = setup.optimizer, "sgd" if setup.optimizer.name == "adamw" else "adamw"
    return (
        f"the {'student' if result.teachers else 'network'} ended {_figure(result)}; try another learning "
        f"rate (--lr, {its.lr:g} here), another optimizer (--set training.optimizer={other}, {its.name} "
        f"here) or more epochs (--epochs, {setup.epochs} here)"
    )


def one_answer(job: Job, student: nn.Module, device: torch.device) -> str | None:
    """A sentence, without a full stop, on a student that answers one class to all training samples.

    It is asked where nothing was held out to measure it; elsewhere `note` says more.

    Args:
        job: what was done.
        student: the network.
        device: where it runs.
    """
    source, task = job.source, job.source.task
    measured = [split for split in (source.validation, source.test) if split is not None]
    if task.scores != "classes" or not task.one_row_per_sample or task.width < 2 or measured:
        return None
    split = job.split.select(torch.arange(min(MOST, len(job.split))))
    config = job.config.student
    reads = preparations.student_preparation(config, task)
    loader = Loader(split, BATCH, shuffle=False, device=device, preparation=reads)
    features = {} if isinstance(student, GraftedStudent) else config.features
    answer = answer_of(task, student.to(device), features)
    with inference(student):
        chosen = {each for batch in loader for each in answer(batch.inputs).logits.argmax(1).tolist()}
    if len(chosen) > 1 or len(split) < FEWEST:
        return None
    return (
        f"the student answers {task.names[chosen.pop()]!r} to all {len(split):,} training samples that were "
        "tried; look at how often the teacher does, label some samples for a test split, or train longer"
    )


def as_teacher(run: Run, whose: str) -> str:
    """A sentence, without a full stop, on a run that ended at chance and is to teach.

    Args:
        run: the teacher's, or that of a member of an ensemble.
        whose: what messages call the teacher.
    """
    return (
        f"{whose} is of the run {str(run.path)!r}, which ended {_figure(run.result)}; train it anew, with "
        "another learning rate, another optimizer or more epochs, before it teaches"
    )


def is_certain(result: Result) -> bool:
    """Whether a run that ended at chance was measured on enough labels to be sure."""
    return _measured(result)[1] >= FEWEST


def _figure(result: Result) -> str:
    metric = tasks.from_record(result.task).primary
    on, size = _measured(result)
    value = metric.show(result.metrics.on(on)[metric.name])
    return (
        f"no better than chance, with a {metric.label} of {value} on the {size:,} samples of its {on} split"
    )


def _measured(result: Result) -> tuple[str, int]:
    """The split that counts, and how many labels it has."""
    measured: Mapping[str, int] = result.data.measured
    on = judged_on(result.metrics, result.data)
    assert on is not None, "it is at chance by its figure there"
    return on, measured[on]
