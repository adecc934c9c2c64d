"""Runs whose network learned nothing: what is said as they end, and where they are to teach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from limbeck import tasks
from limbeck.config import TrainingConfig
from limbeck.data import Loader, Source
from limbeck.data.split import Split
from limbeck.evaluation.measure import answer_of, inference
from limbeck.methods.parts.grafts import GraftedStudent
from limbeck.runs import network_notes, preparations
from limbeck.runs.directory import Run
from limbeck.runs.result import DataResult, Metrics, Result
from limbeck.tasks.parts.chance import most_by_chance
from limbeck.teachers.files.teacher import FileTeacher
from limbeck.training import DivergenceError
from limbeck.training.guard import GivenNotFiniteError

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


def explained(error: DivergenceError, job: Job) -> str | None:
    """What to say of a training that diverged, with what else may be wrong; None if nothing else may.

    Args:
        error: as the training raised it.
        job: what was done.
    """
    remedy = network_notes.remedy(job.config.student, job.distiller.student, job.source)
    if remedy is None or isinstance(error, GivenNotFiniteError):
        return None
    return f"{error} {remedy[0].upper()}{remedy[1:]}."


def note(result: Result, setup: TrainingConfig, remedy: str | None = None) -> str | None:
    """A sentence, without a full stop, on a run that ended at chance and what to try; None for any other.

    Args:
        result: the record of the run.
        setup: how it was trained.
        remedy: a clause on what else may be wrong.
    """
    if not result.at_chance:
        return None
    advice = "try" if remedy is None else f"{remedy}; or try"
    its, other = setup.optimizer, "sgd" if setup.optimizer.name == "adamw" else "adamw"
    return (
        f"the {'student' if result.teachers else 'network'} ended {_figure(result)}; {advice} another "
        f"learning rate (--lr, {its.lr:g} here), another optimizer (--set training.optimizer={other}, "
        f"{its.name} here) or more epochs (--epochs, {setup.epochs} here)"
    )


def unmeasured(job: Job, student: nn.Module, device: torch.device) -> str | None:
    """A sentence, without a full stop, on a student that no sample was held out to measure; else None.

    It says how often the student decides as a file of answers does about samples that it has learned from,
    and whether it answers one class to all of them. Of a student that `note` tells of, there is nothing more
    to say.

    Args:
        job: what was done.
        student: the network.
        device: where it runs.
    """
    source, task = job.source, job.source.task
    held_out = [split for split in (source.validation, source.test) if split is not None]
    if task.scores != "classes" or not task.one_row_per_sample or task.width < 2 or held_out:
        return None
    split = job.split.select(torch.arange(min(MOST, len(job.split))))
    chosen, alike, said = _decided(job, student, split, device)
    if len(split) >= FEWEST and len(answers := set(chosen.tolist())) == 1:
        return (
            f"the student answers {task.names[answers.pop()]!r} to all {len(split):,} training samples that "
            "were tried; look at how often the teacher does, label some samples for a test split, train "
            "longer (--epochs), or try another learning rate (--lr)"
        )
    if not len(alike):
        return None
    agreed, common = float(alike.double().mean()), float(said.bincount().max()) / len(said)
    told = (
        f"the student decides as the answers do for {100 * agreed:.1f} % of {len(alike):,} training samples, "
        f"and the commonest answer is that of {100 * common:.1f} %"
    )
    if agreed <= most_by_chance(common, (common * (1 - common) / len(said)) ** 0.5):
        return (
            f"{told}: it has hardly learned; try more epochs (--epochs, {job.config.training.epochs} here), "
            f"another learning rate (--lr, {job.config.training.optimizer.lr:g} here) or a larger student"
        )
    return f"{told}; nothing was held out to measure it by, so label some samples for a test split"


def _decided(
    job: Job, student: nn.Module, split: Split, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """What the student and a file of answers decide.

    Returns: (N,) class that the student chooses for each sample; (A,) whether the file, where it has an
        answer, says the same; and (A,) the class that it says.
    """
    config = job.config.student
    reads = preparations.student_preparation(config, job.source.task)
    loader = Loader(split, BATCH, shuffle=False, device=device, preparation=reads)
    features = {} if isinstance(student, GraftedStudent) else config.features
    answer = answer_of(job.source.task, student.to(device), features)
    file = next((each for each in job.distiller.teachers.values() if isinstance(each, FileTeacher)), None)
    chosen, alike, said = [], [torch.zeros(0, dtype=torch.bool)], [torch.zeros(0, dtype=torch.int64)]
    with inference(student):
        for batch in loader:
            chosen.append(answer(batch.inputs).logits.argmax(1).cpu())
            if file is not None:
                theirs, there = file(batch).logits.argmax(1).cpu(), file.answered(batch)
                rows = torch.ones_like(theirs, dtype=torch.bool) if there is None else there.cpu()
                alike.append((theirs == chosen[-1])[rows])
                said.append(theirs[rows])
    return torch.cat(chosen), torch.cat(alike), torch.cat(said)


def as_teacher(run: Run, whose: str) -> str:
    """A sentence, without a full stop, on a run that ended at chance and is to teach.

    Args:
        run: the teacher's, or that of a member of an ensemble.
        whose: what messages call the teacher.
    """
    bare = any(network_notes.NORMALIZED in note for note in run.result.notes)
    ways = f"{network_notes.NORMALIZED}, another learning rate" if bare else "another learning rate"
    return (
        f"{whose} is of the run {str(run.path)!r}, which ended {_figure(run.result)}; train it anew, with "
        f"{ways}, another optimizer or more epochs, before it teaches"
    )


def is_certain(result: Result) -> bool:
    """Whether a run that ended at chance was measured on enough labels to be sure."""
    return _measured(result)[1] >= FEWEST


def _figure(result: Result) -> str:
    metric = tasks.from_record(result.task).primary
    on, size = _measured(result)
    value = metric.show(result.metrics.on(on)[metric.name])
    return f"no better than chance, with {value} {metric.label} on the {size:,} samples of its {on} split"


def _measured(result: Result) -> tuple[str, int]:
    """The split that counts, and how many labels it has."""
    measured: Mapping[str, int] = result.data.measured
    on = judged_on(result.metrics, result.data)
    assert on is not None, "it is at chance by its figure there"
    return on, measured[on]
