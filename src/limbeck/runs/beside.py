"""Puts the student alone beside a distilled one: plans it before the training, and adds it to the record."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from limbeck import tasks
from limbeck.config import RunConfig
from limbeck.errors import LimbeckError
from limbeck.evaluation import results
from limbeck.evaluation.results import Evaluation
from limbeck.evaluation.suite import remarks
from limbeck.runs.alone import Alone, Place, alone, find, given
from limbeck.runs.directory import OverSeeds, Report, Run
from limbeck.runs.evaluate import FILE, write
from limbeck.runs.job import Job
from limbeck.runs.modelcard import write_model_card
from limbeck.runs.result import BaselineResult, Result
from limbeck.training import Trainer
from limbeck.training.world import led

BaselineLike: TypeAlias = str | Path | Run
"""What a run is shown beside: "auto", "none", or the run of the student alone or its directory."""


def wanted(baseline: BaselineLike | None, run: Run, *, resume: bool) -> str | None:
    """What a run is to be shown beside: "auto", the directory of a run, or None for nothing.

    Args:
        baseline: what was asked for; None leaves it to the run that is resumed, and is nothing for a new one.
        run: the run.
        resume: whether it goes on.
    Raises:
        LimbeckError: for a directory that is no run's.
    """
    if baseline is None:
        known = resume and (run.path / "environment.json").is_file()
        return run.environment.get("baseline") if known else None
    if baseline in ("auto", "none"):
        return None if baseline == "none" else "auto"
    path = baseline.path if isinstance(baseline, Run) else Path(baseline)
    if not (path / "config.yaml").is_file():
        raise LimbeckError(
            f"the baseline (--baseline) is auto, none or a run of the student alone, and {str(path)!r} is no "
            "run's directory"
        )
    return str(path.resolve())


class Beside:
    """The student alone beside a run.

    Args:
        asked: "auto", or the directory of the run of the student alone.
        run: the run that it stands beside.
        objects: what was handed over to that run. Its student is copied, before it is trained.
        resume: whether that run goes on.
        overwrite: whether that run is replaced.

    Attributes:
        place: where the student alone is or goes; None before it is planned, and where there is none.
        missing: a sentence on why there is none.
    """

    def __init__(
        self, asked: str, run: Run, objects: Mapping[str, Any], *, resume: bool, overwrite: bool
    ) -> None:
        self.asked = asked
        self.place: Place | None = None
        self.missing: str | None = None
        self._run, self._resume, self._overwrite = run, resume, overwrite
        self._student = {"student": copy.deepcopy(objects["student"])} if "student" in objects else {}

    def plan(self, job: Job, trainer: Trainer, steps: int) -> None:
        """Decides where the student alone is or goes, and says so; writes nothing.

        Args:
            job: what the run does.
            trainer: the trainer that does it.
            steps: optimizer steps in an epoch of it.
        Raises:
            LimbeckError: for a run that was named and is another, and where nothing can be written.
        """
        self._source, self._trainer = job.source, trainer
        found = alone(job, trainer, steps)
        if isinstance(found, str):
            self.missing = f"No student is trained alone to compare with: {found}."
            trainer.display.note(f"no student is trained alone to compare with: {found}")
        else:
            self._alone = found
            if self.asked == "auto":
                self.place = find(found, self._run.path, resume=self._resume, overwrite=self._overwrite)
            else:
                self.place = given(found, Run(Path(self.asked)))
            trainer.display.note(_said(found, self.place))
        trainer.accelerator.wait_for_everyone()  # before any process makes a directory

    def to_train(self) -> tuple[RunConfig, dict[str, Any]]:
        """What the run of the student alone is made of: its config, and objects that are handed over."""
        self._trainer.display.note(f"the student alone, by {self._alone.config.objective}")
        return self._alone.config, {"data": self._source, **self._student}

    def add(
        self, other: Run | str, report: Report | None = None, over_seeds: OverSeeds | None = None
    ) -> None:
        """Adds the student alone to the record, the evaluation, the page and the card of the finished run.

        Args:
            other: its run; or a sentence on why there is none.
            report: a function that writes the run's page.
            over_seeds: a function that adds what the runs of other seeds say.
        """
        with led(self._trainer.accelerator):
            if self._trainer.main:
                self._write(other, report, over_seeds)

    def _write(self, other: Run | str, report: Report | None, over_seeds: OverSeeds | None) -> None:
        run, result = self._run, self._run.result
        if isinstance(other, Run):
            if (found := results.read(run.path / FILE)) and (merged := self._with_baseline(found, other)):
                write(run, merged)
            result = result.model_copy(
                update={"baseline": _baseline(run, result, other, self._alone.phase_steps)}
            )
            result = over_seeds(run, result) if over_seeds else result
        else:
            result = result.model_copy(update={"baseline": other})
        if report:
            report(run, result, self._source)
        write_model_card(run, result)
        result.write(run.path / "result.json")

    def _with_baseline(self, found: Evaluation, other: Run) -> Evaluation | None:
        """The evaluation with the student alone, as its own run has measured it.

        None where that is not alike, because less was measured of it, or another baseline is there.
        """
        theirs = results.read(other.path / FILE)
        if theirs is None or found.suite == "full" or "baseline" in found.networks:
            return None
        cost = theirs.student.cost.model_copy(
            update={"peak_bytes": None, "latency": None, "throughput": None}
        )
        quick = {"robustness": None, "noiseless": None, "cost": cost}
        networks = {**found.networks, "baseline": theirs.student.model_copy(update=quick)}
        old, new = (remarks(self._source, each) for each in (found.networks, networks))
        notes = (*new, *(note for note in found.notes if note not in old))
        written = found.written
        if written and theirs.written and written.beginnings == theirs.written.beginnings:
            texts = {**written.texts, "baseline": theirs.written.texts["student"]}
            written = written.model_copy(update={"texts": texts})
        return found.model_copy(update={"networks": networks, "notes": notes, "written": written})


def _said(alone: Alone, place: Place) -> str:
    """What is planned, in a sentence without a full stop."""
    if place.there:
        return f"the student is compared with {place.run.path}, the student alone with the same settings"
    trained = "goes on to be trained" if place.resume else "is trained"
    return (
        f"afterwards the student {trained} alone, by {alone.config.objective} in as many steps"
        f"{' with those of its phases' if alone.phase_steps else ''}"
        f"{'' if alone.config.training.early_stopping is None else ' or until it is stopped early'}, in "
        f"{place.run.path}; that takes up to as long again; "
        'baseline="none" (--baseline none) leaves it out'
    )


def _baseline(run: Run, result: Result, other: Run, phase_steps: int) -> BaselineResult:
    """The record of the student alone, with the difference at the run's own seed."""
    theirs, metric = other.result, tasks.from_record(result.task).primary.name
    assert theirs.steps is not None, "it is equal to the number of the run"
    split = "test" if result.metrics.test else "validation"
    values = (result.metrics.on(split)[metric], theirs.metrics.on(split)[metric])
    return BaselineResult(
        place=PurePath(os.path.relpath(other.path, run.path)).as_posix(),
        objective=theirs.objective,
        parameters=theirs.student.parameters,
        steps=theirs.steps,
        phase_steps=phase_steps,
        metrics=theirs.metrics,
        metric=metric,
        split=split,
        values={result.seed: values},
        difference=values[0] - values[1],
    )
