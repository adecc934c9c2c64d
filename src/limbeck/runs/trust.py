"""Teachers are asked before training: what they are worth, and whether their answers are logits at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from limbeck.config import RunConfig, TeacherConfig
from limbeck.data import Loader, Source, Split
from limbeck.data.split import stratified
from limbeck.errors import LimbeckError
from limbeck.evaluation.remembered import Remembered
from limbeck.features import probabilities
from limbeck.outputs import Batch
from limbeck.runs import answer_files, chance, preparations
from limbeck.runs.chance import FEWEST
from limbeck.runs.directory import Run
from limbeck.runs.network_names import called, is_path, members_of
from limbeck.runs.recipe import run_of
from limbeck.runs.schedules import schedule_of
from limbeck.tasks import Meter, Task
from limbeck.tasks.wording import a
from limbeck.teachers import LiveTeacher
from limbeck.training.devices import own_device

BATCH = 128
MOST = 2000
"""Training samples that are asked about where there is no validation split."""
FEW = 256
"""Samples that are asked about where no label says what the answers are worth."""
LOSS = 0.2
"""The share of its recorded figure that a teacher may lose before it is refused."""


MEANINGFUL = 32
"""Outputs from which on it is no accident that all of them lie in [0, 1]."""


class Found(NamedTuple):
    """What asking a teacher showed, in sentences without a full stop.

    Attributes:
        worth: what it is worth.
        wrong: what is wrong with it; None if nothing is.
    """

    worth: str
    wrong: str | None


@dataclass
class Answers:
    """What a network answered to some samples, kept as figures.

    Of a task that decides at positions, a sample is one of its rows: batches may differ in their positions.

    Attributes:
        samples: how many there were.
        outputs: how many numbers the network answered.
        broken: how many of them had NaN or infinite outputs.
        within: whether every output was a probability.
        summed: whether the outputs of every sample summed to 1.
        equal: whether all samples had the same outputs.
        choices: the outputs that were the largest of some sample.
    """

    samples: int = 0
    outputs: int = 0
    broken: int = 0
    within: bool = True
    summed: bool = True
    equal: bool = True
    choices: set[int] = field(default_factory=set)
    _first: Tensor | None = None

    def update(self, logits: Tensor) -> None:
        """Takes in the outputs for a batch, (B, ...), or its rows, (P, C)."""
        rows = logits.detach().flatten(1).float()
        finite = rows.isfinite().all(1)
        self.samples, self.outputs = self.samples + len(rows), self.outputs + rows.numel()
        self.broken += int((~finite).sum())
        within, summed = probabilities(logits)
        self.within, self.summed = self.within and within, self.summed and summed
        self._first = rows[:1] if self._first is None else self._first
        self.equal = self.equal and bool((rows == self._first).all())
        if logits.ndim == 2:
            self.choices |= set(logits.argmax(1).tolist())


def ask(
    teachers: Mapping[str, nn.Module],
    files: Mapping[str, answer_files.AnswerFile],
    config: RunConfig,
    source: Source,
    told: Mapping[str, Source],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Asks the teachers of a run.

    Args:
        teachers: networks by name, without those that score pairs; afterwards on the device where they were.
        files: the teachers that are files of answers, by name.
        config: of the run.
        source: the data.
        told: the data as each of these networks reads it, by name.
    Returns: a sentence on each teacher, and sentences on what is wrong with those that are to be trusted all
        the same.
    Raises:
        LimbeckError: for a teacher whose outputs cannot be logits, that is no better than chance, or that is
            far from what its own run recorded, unless its config says `trust`.
    """
    worth, wrong = [], []
    for name, each in config.taught_by.items():
        if name in files:
            found = Found(*answer_files.examine(files[name], name, source, FEWEST))
        elif name not in teachers:
            continue
        else:
            found = examine(teachers[name], name, each, told[name], own_device(config.training.device))
        if found.wrong is not None and not each.trust:
            raise LimbeckError(f"{found.wrong}; set {_key(name)}.trust=true to go on all the same")
        worth.append(found.worth)
        wrong += [] if found.wrong is None else [found.wrong]
    return tuple(worth), tuple(wrong)


def examine(
    network: nn.Module, name: str, config: TeacherConfig, source: Source, device: torch.device
) -> Found:
    """Measures a teacher on the validation split, or without one on labeled training samples.

    It runs in eval mode and without gradients, as it will in training; its weights, buffers and the random
    state are what they were.

    Args:
        network: the teacher; afterwards on the device where it was.
        name: of the teacher among several; "teacher" for the only one.
        config: of the teacher.
        source: the data.
        device: where it runs.
    """
    whose = called(name)
    split, where = _asked_about(source)
    home = next((parameter.device for parameter in network.parameters()), device)
    try:
        answers, meter = _answers(network.to(device), name, config, source, split, device)
    finally:
        network.to(home)
    task = source.task
    labeled = split.select(task.labeled(split.targets).nonzero().flatten())
    metrics: Mapping[str, float] = meter.compute() if len(labeled) and not answers.broken else {}
    worth = _worth(whose, task, metrics, where)
    runs = [run for each in (config, *members_of(config)) if (run := run_of(each)) is not None]
    untaught = next((run for run in runs if run.result.at_chance), None)
    ended = None if untaught is None else chance.as_teacher(untaught, whose)
    if untaught is not None and chance.is_certain(untaught.result):
        return Found(worth, ended)
    wrong = _looks_wrong(answers, task, labeled, whose, name, recorded=bool(runs))
    judged = len(labeled) >= FEWEST and not (source.noise and split is not source.validation)
    if wrong is None and metrics and judged:
        wrong = _measures_wrong(task, metrics, meter, labeled, config, worth, ended)
    return Found(worth if ended is None else f"{worth}; {ended}", wrong)


def _asked_about(source: Source) -> tuple[Split, str]:
    """The samples that a teacher is measured on, and what they are called."""
    task, validation, train = source.task, source.validation, source.train
    enough = validation is not None and int(task.labeled(validation.targets).sum()) >= FEWEST
    if validation is not None and (enough or task.embeds or not train.has_labels):
        few = validation if task.labeled(validation.targets).any() else _first(validation)
        return few, "the validation split"
    if not train.has_labels:
        return _first(train), "training samples"
    labeled = train.labeled()
    if validation is not None and len(labeled) < FEWEST and validation.has_labels:
        return validation, "the validation split"
    if len(labeled) > MOST and labeled.together > 1:
        labeled = labeled.select(torch.arange(MOST // labeled.together * labeled.together))
    elif len(labeled) > MOST:
        labeled = labeled.select(stratified(task.strata(labeled.targets), MOST, seed=0))
    return labeled, f"{len(labeled)} training samples"


def _first(split: Split) -> Split:
    """As many samples as show whether answers are those of a working network."""
    return split.select(torch.arange(min(FEW, len(split))))


def _answers(
    network: nn.Module, name: str, config: TeacherConfig, source: Source, split: Split, device: torch.device
) -> tuple[Answers, Meter]:
    task, answers = source.task, Answers()
    meter = task.meter()
    reads = preparations.preparation(config, task)
    loader = Loader(split, BATCH, shuffle=False, device=device, preparation=reads)
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        teacher = LiveTeacher(network, config.features, width=task.width, dense=task.dense)
        teacher.name = name
        known = Remembered(network, lambda inputs: teacher(Batch(inputs)), f"{name} {config.features}")
        for batch in loader:
            if not answers.samples:
                teacher.open(batch.inputs, ("logits",))
                if task.fields and teacher.points is not None:
                    teacher.open(batch.inputs, ("logits", *task.fields_of(teacher.points)))
            outputs = known(batch.inputs)
            logits = outputs.logits
            answers.update(task.rows(batch, outputs).logits(logits) if task.dense else logits)
            if not answers.broken:
                meter.update(outputs, batch)
    return answers, meter


def _worth(whose: str, task: Task, metrics: Mapping[str, float], where: str) -> str:
    if task.primary.name not in metrics:
        return f"{whose} is not measured: there are no labels to measure it by"
    figure = task.primary.show(metrics[task.primary.name])
    return f"{whose} has {a(task.primary)} of {figure} on {where}"


def _looks_wrong(
    answers: Answers, task: Task, labeled: Split, whose: str, name: str, *, recorded: bool
) -> str | None:
    """What shows that the outputs are not those of a working network; None if nothing does.

    The network of a recorded run was trained on its logits, which may all lie in [0, 1] by accident where
    it has learned little.
    """
    what = "rows" if task.dense else "samples"
    if answers.broken:
        return (
            f"the outputs of {whose} are NaN or infinite for {answers.broken} of {answers.samples} {what}; "
            "its weights or its normalization do not fit, or it overflows in its precision"
        )
    if answers.samples > 1 and answers.equal:
        return (
            f"{whose} answers all {answers.samples} {what} alike; its weights or its normalization do not fit"
        )
    if task.scores != "classes":
        return None
    if answers.summed or (answers.within and answers.outputs >= MEANINGFUL and not recorded):
        return (
            f"the outputs of {whose} are probabilities, all of them from 0 to 1"
            f"{' with the sum 1' if answers.summed else ''}, and logits are needed; set "
            f"{_key(name)}.outputs=probabilities, or name the layer before them, {_key(name)}.features.logits"
        )
    several = len(set(task.strata(labeled.targets).tolist())) > 1 or not len(labeled)
    if task.one_row_per_sample and len(answers.choices) == 1 and several and answers.samples >= FEWEST:
        chosen = task.names[answers.choices.pop()]
        return (
            f"{whose} answers {chosen!r} to all {answers.samples} samples; its weights, its normalization or "
            "its classes do not fit the data"
        )
    return None


def _measures_wrong(
    task: Task,
    metrics: Mapping[str, float],
    meter: Meter,
    labeled: Split,
    config: TeacherConfig,
    worth: str,
    ended: str | None,
) -> str | None:
    """What shows in its figures that the teacher does not fit the data; None if nothing does.

    Its own run may have ended at chance, on too few labels to be sure, as `ended` says then.
    """
    causes = "its classes, its normalization or its inputs do not fit the data"
    if task.scores == "classes" and task.one_row_per_sample:
        causes += "; names=[...] of the data puts the classes in the order of a teacher's outputs"
    if task.at_chance(metrics, labeled.targets):
        why = f": it is untrained, or {causes}" if ended is None else f"; {ended}"
        return f"{worth}, no better than chance{why}"
    worth = worth if ended is None else f"{worth}; {ended}"
    recorded = _recorded(config, task)
    value = metrics.get(task.primary.name)
    if recorded is None or value is None:
        return None
    lost = (recorded - value) if task.primary.higher else (value - recorded)
    rate = meter.intervals().get(task.primary.name)
    error = 0.0 if rate is None else (recorded * (1 - recorded) / len(labeled)) ** 0.5
    if lost > LOSS * abs(recorded) and lost > 3 * error:
        return f"{worth}, and its own run recorded {task.primary.show(recorded)}: {causes}"
    return None


def _recorded(config: TeacherConfig, task: Task) -> float | None:
    """The figure that the run of a teacher recorded, on its validation split or else on its test split."""
    schedule = schedule_of(config.model)
    if schedule is not None and not schedule.is_recorded:
        return None
    path = Path(config.model) if schedule is None else schedule.run.path
    if config.weights is not None or not is_path(str(path)):
        return None
    run = Run(path if path.is_dir() else path.parent)
    if not run.finished:
        return None
    metrics = run.result.metrics
    found = metrics.validation or metrics.test or {}
    return found.get(task.primary.name)


def _key(name: str) -> str:
    """Where the config has the teacher."""
    return name if name == "teacher" else f"teachers.{name}"
