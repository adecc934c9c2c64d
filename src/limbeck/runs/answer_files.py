"""A run's teachers that are files of answers: what is said of them, and what they are worth."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from limbeck.config import RunConfig, TeacherConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.outputs import Batch
from limbeck.runs.network_names import called, key_of
from limbeck.runs.result import AnswersResult
from limbeck.tasks import Language
from limbeck.tasks.wording import a
from limbeck.teachers import FileTeacher, TokenFileTeacher
from limbeck.teachers.files.reading import is_answers

BATCH = 4096


AnswerFile: TypeAlias = "FileTeacher | TokenFileTeacher"
"""A teacher that is a file: an answer for each sample, or what was said of each token of a text."""


def files_of(config: RunConfig, source: Source) -> dict[str, AnswerFile]:
    """The teachers of a run that are files of answers, by name.

    Raises:
        LimbeckError: for a setting that is for networks alone, and for a file that cannot teach.
    """
    found: dict[str, AnswerFile] = {}
    kind = TokenFileTeacher if isinstance(source.task, Language) else FileTeacher
    for name, each in config.taught_by.items():
        if is_answers(each.model):
            _check_settings(name, each)
            found[name] = kind(Path(each.model), source)
    return found


def recipe(source: Source, config: RunConfig, files: Collection[AnswerFile]) -> str:
    """The objective of a run that names none.

    It is the task's, unless a file of answers is partial, as labels are, which no temperature softens, or is
    all there is to learn from.
    """
    if not files or isinstance(source.task, Language):
        return source.task.recipe(teacher=bool(config.taught_by))
    temperature = 1 if any(file.partial for file in files) else 4
    distilled = f"kd(temperature={temperature})"
    return f"0.1*ce + 0.9*{distilled}" if source.train.has_labels else distilled


def notes(files: Mapping[str, AnswerFile]) -> tuple[str, ...]:
    """Sentences on how many samples are answered, and on what is odd, without full stops."""
    return tuple(
        sentence
        for name, file in files.items()
        for sentence in (
            f"{called(name)} {str(file.path)!r} {file.coverage.summary}",
            *file.notes,
        )
    )


def examine(file: AnswerFile, name: str, source: Source, fewest: int) -> tuple[str, str | None]:
    """Compares the answers with the labels of the training samples that have one.

    Args:
        file: the teacher.
        name: of the teacher among several; "teacher" for the only one.
        source: the data.
        fewest: answers about labeled samples from which on they are judged.
    Returns: what they are worth, and what is wrong with them, None if nothing is; without full stops.
    """
    if isinstance(file, TokenFileTeacher):
        return _examine_tokens(file, name, source)
    task, its = source.task, file.coverage
    metrics, targets = _compared(file, source)
    if not metrics:
        worth = f"{called(name)} is not measured: no training sample has a label and an answer"
    else:
        figure = task.primary.show(metrics[task.primary.name])
        worth = (
            f"{called(name)} has {a(task.primary)} of {figure} on the {len(targets):,} "
            "training samples that have a label and an answer"
        )
    if its.unknown > its.rows / 2:
        return worth, (
            f"most answers in {str(file.path)!r} are about no sample of {source.name}, {its.unknown:,} of "
            f"{its.rows:,}{file.unknown}"
        )
    if file.counted is not None:
        return worth, f"{str(file.path)!r}: {file.counted}"
    if len(targets) >= fewest and not source.noise and task.at_chance(metrics, targets):
        return worth, (
            f"{worth}, no better than chance: its answers are about other samples than their ids say, or do "
            "not fit the data"
        )
    return worth, None


def _examine_tokens(file: TokenFileTeacher, name: str, source: Source) -> tuple[str, str | None]:
    """What a file that answers tokens is worth, and what is wrong with it."""
    figure = source.task.primary.show(file.nll)
    worth = f"{called(name)} has a NLL of {figure} on the {file.coverage.told:,} tokens that it answers"
    if source.task.at_chance({"nll": file.nll}, source.train.targets):
        return worth, f"{worth}, no better than chance: it says little of these texts"
    return worth, None


def record(file: AnswerFile, source: Source) -> AnswersResult:
    """What a result keeps of a file of answers."""
    if isinstance(file, TokenFileTeacher):
        reach = file.coverage
        return AnswersResult(
            samples=reach.samples,
            answered=reach.answered,
            forms={"logprobs": reach.told},
            compared=reach.told,
            agreement=file.nll,
        )
    metrics, targets = _compared(file, source)
    its = file.coverage
    return AnswersResult(
        samples=its.samples,
        answered=its.answered,
        forms=dict(its.forms),
        repeated=its.repeated,
        contradictory=its.contradictory,
        elsewhere=its.elsewhere,
        unknown=its.unknown,
        compared=len(targets),
        agreement=metrics.get(source.task.primary.name),
    )


def _compared(file: FileTeacher, source: Source) -> tuple[dict[str, float], Tensor]:
    """The metrics on the training samples with a label and an answer, and the targets of these."""
    train, task = source.train, source.task
    meter = task.meter(quick=True)

    def batch(rows: Tensor) -> Batch:
        index = train.index[rows]
        return Batch(index, train.targets[rows], index=index, view=torch.zeros_like(index))

    there, labeled = file.answered(batch(torch.arange(len(train)))), task.labeled(train.targets)
    rows = (labeled if there is None else labeled & there).nonzero().flatten()
    for some in map(batch, torch.split(rows, BATCH)):
        meter.update(file(some), some)
    return meter.compute() if len(rows) else {}, train.targets[rows]


def _check_settings(name: str, config: TeacherConfig) -> None:
    """Refuses what is said of a network."""
    usual = TeacherConfig(model=config.model, trust=config.trust)
    said = [key for key, value in config if value != getattr(usual, key)]
    if said:
        flag = " (--cache-teacher)" if said[0] == "cache" else ""
        raise LimbeckError(
            f"{config.model} is a file of answers and no network; leave out {key_of(name)}.{said[0]}{flag}"
        )
