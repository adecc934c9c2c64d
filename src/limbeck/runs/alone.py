"""The student alone, beside which a distilled one is shown: what its run is, and whether a run is that."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from torch import nn

from limbeck.config import RunConfig, TrainingConfig, flat, make_config
from limbeck.data import Source
from limbeck.data.loader import whole_batch
from limbeck.errors import LimbeckError
from limbeck.evaluation import results
from limbeck.methods import Method, Objective
from limbeck.methods.base import inner_first
from limbeck.models import count_parameters
from limbeck.objective import parse
from limbeck.runs import places
from limbeck.runs.batches import epoch_steps
from limbeck.runs.directory import Run, check_claim
from limbeck.runs.evaluate import FILE
from limbeck.runs.job import Job
from limbeck.runs.recipe import recipe, settings
from limbeck.training import Trainer
from limbeck.training.length import Length


@dataclass(frozen=True)
class Alone:
    """The run of the student alone, in as many steps as the student takes that is distilled.

    Steps of phases that train the student count. With early stopping each of the two has as many epochs at
    most, and stops by its own figures.

    Attributes:
        config: its config.
        facts: what decides its outcome, by key: its settings, and what they come to.
        phase_steps: how many of its steps the distilled student takes in phases.
    """

    config: RunConfig
    facts: dict[str, Any]
    phase_steps: int = 0

    def differs(self, run: Run) -> str | None:
        """How a finished run differs from it, "seed=1, not 0"; None if it does not.

        Raises:
            LimbeckError: for a run whose record is damaged.
        """
        result = run.result
        views = result.data.views
        there = {
            **recipe(run),
            "seed": result.seed,
            "task": result.task,
            "fingerprint of the data": result.data.fingerprint,
            "views": views and views.policy,
            "weights of the student": _weights(run.environment.get("places", {})),
            "parameters": result.student.parameters,
            **({} if run.config.training.early_stopping else {"steps": result.steps}),
        }
        for key in {**self.facts, **there}:
            if self.facts.get(key) != there.get(key):
                return f"{key}={there.get(key)!r}, not {self.facts.get(key)!r}"
        return None


@dataclass(frozen=True)
class Place:
    """Where the student alone is or goes.

    Attributes:
        run: its run.
        there: whether the run is finished; else it is still to be made.
        resume: whether an interrupted one goes on.
        overwrite: whether an interrupted one is replaced.
    """

    run: Run
    there: bool = False
    resume: bool = False
    overwrite: bool = False


def alone(job: Job, trainer: Trainer, steps: int) -> Alone | str:
    """The run of the student alone beside a run, or why there is none, in words.

    Args:
        job: the run.
        trainer: the trainer that does it.
        steps: optimizer steps in an epoch of it.
    """
    source, config = job.source, job.config
    task, setup = source.task, config.training
    objective = parse(task.recipe(teacher=False))
    parts = {str(part) for part in inner_first(job.distiller.objective) if not isinstance(part, Objective)}
    if parts == {str(part) for _, part in objective.summands}:
        return f"the objective, {job.distiller.objective}, is that of a student alone"
    if not source.train.has_labels:
        return "no training sample has a label, and alone a student learns from labels"
    if source.test is None and source.validation is None:
        return "the data has neither a test nor a validation split to compare on"
    length = epoch_length(steps, source, objective, job.distiller.student, trainer, setup)
    in_phases = _phase_steps(job, trainer)
    total = Length.of(steps, setup.epochs, setup.max_steps).total + in_phases
    changed = {"samples_per_epoch": length, "keep_every": None}
    if in_phases:
        changed |= {"epochs": math.ceil(total / steps), "max_steps": total if total % steps else None}
    made = config.model_copy(
        update={
            "teacher": None,
            "teachers": {},
            "objective": str(objective),
            "training": setup.model_copy(update=changed),
        }
    )
    facts = {
        **settings(made),
        "training.precision": trainer.precision,
        "seed": made.seed,
        "task": json.loads(json.dumps(task.record())),
        "fingerprint of the data": source.fingerprint(),
        "views": str(source.views),
        "weights of the student": _weights(places.record(made, Path())),
        "parameters": count_parameters(job.distiller.student),
    }
    if setup.early_stopping is None:  # else each stops by its own figures
        facts["steps"] = total
    return Alone(made, facts, in_phases)


def _phase_steps(job: Job, trainer: Trainer) -> int:
    """Optimizer steps of the phases that train the student; each runs over the whole training set."""
    source, setup, student = job.source, job.config.training, job.distiller.student
    epochs = sum(
        phase.epochs for _, phase in job.distiller.phases if any(each is student for each in phase.trains)
    )
    objective = job.distiller.objective
    return epochs and epochs * epoch_steps(len(job.split), source, objective, job.distiller, trainer, setup)


def epoch_length(
    steps: int, source: Source, objective: Method, student: nn.Module, trainer: Trainer, setup: TrainingConfig
) -> int | None:
    """`training.samples_per_epoch` with which a student that learns from labels alone takes so many steps.

    Args:
        steps: optimizer steps in an epoch.
        source: the data, of which some samples may have no label.
        objective: what the student minimizes.
        student: the network.
        trainer: the trainer of the run.
        setup: the run's training. What it says of the length of an epoch stays where it gives these steps.
    """
    samples = setup.samples_per_epoch or int(source.task.labeled(source.train.targets).sum())
    if epoch_steps(samples, source, objective, student, trainer, setup) == steps:
        return setup.samples_per_epoch
    return steps * whole_batch(setup.batch_size, source.train.together)


def find(alone: Alone, home: Path, *, resume: bool, overwrite: bool) -> Place:
    """Where the student alone is, among the runs in the directory of a run; or where it is to go.

    A finished run is it only if nothing that decides its outcome differs, so one whose student was handed
    over as an object never is. No other run is replaced: the next free directory is taken.

    Args:
        alone: the student alone.
        home: the directory of the run that it stands beside.
        resume: whether that run goes on, and so may an interrupted run of the student alone.
        overwrite: whether that run is replaced, and so may an interrupted run of the student alone.
    Raises:
        LimbeckError: if the directory cannot be written to.
    """
    home = home if home.name not in ("", "..") else home.resolve()
    if not alone.config.student.model.startswith("<"):
        others = sorted(home.parent.iterdir()) if home.parent.is_dir() else []
        for path in (_own(home), *others):
            if path.name != home.name and _is(alone, Run(path)):
                return Place(Run(path), there=True)
    for number in count(1):
        path = _own(home, number)
        begun = (path / "config.yaml").exists()
        if begun and ((path / "result.json").exists() or not (resume or overwrite) or _other(path, alone)):
            continue
        place = Place(Run(path), resume=begun and resume, overwrite=begun and not resume)
        try:
            check_claim(path, resume=place.resume, overwrite=place.overwrite)
        except LimbeckError:
            if path.exists():
                continue  # it is something else
            raise
        return place
    raise AssertionError("the numbers do not end")


def given(alone: Alone, run: Run) -> Place:
    """A run that was named as the student alone.

    Raises:
        LimbeckError: if it is not finished or differs, naming the setting.
    """
    if problem := alone.differs(run):
        raise LimbeckError(
            f"the baseline {str(run.path)!r} was run with {problem}; give a run of the student alone with "
            'the same settings, or baseline="auto" (--baseline auto), which trains one'
        )
    return Place(run, there=True)


def _own(home: Path, number: int = 1) -> Path:
    """A directory of the student alone beside a run: RUN-alone, RUN-alone-2 and so on."""
    return home.with_name(f"{home.name}-alone" + ("" if number == 1 else f"-{number}"))


def _is(alone: Alone, run: Run) -> bool:
    """Whether a directory holds the finished run of the student alone, with its evaluation."""
    if not (run.finished and (run.path / "config.yaml").is_file() and (run.path / FILE).is_file()):
        return False
    try:
        result, facts = run.result, alone.facts
        if (result.objective, result.seed) != (facts["objective"], facts["seed"]):
            return False  # as most are, before their configs are read
        return alone.differs(run) is None and results.read(run.path / FILE) is not None
    except (LimbeckError, OSError, ValueError):
        return False  # a damaged record is no record


def _other(path: Path, alone: Alone) -> bool:
    """Whether a run that was begun there is another one."""
    try:
        there = make_config(path / "config.yaml")
    except LimbeckError:
        return True
    return flat(there.model_dump(mode="json")) != flat(alone.config.model_dump(mode="json"))


def _weights(known: dict[str, dict[str, str | None]]) -> dict[str, str | None]:
    return {text: place["weights"] for text, place in known.items()}
