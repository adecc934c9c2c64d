"""One side of a tuning searched: trials one after the other, until its budget of time is spent.

Trials are drawn by a tree-structured Parzen estimator (Bergstra et al., 2011) and stopped at rungs of epochs
by asynchronous successive halving (ASHA, Li et al., 2020, arXiv:1810.05934), both of which are Optuna's.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.files import write_text
from limbeck.notation import show
from limbeck.optional import imported
from limbeck.runs import Run
from limbeck.seeds import seed_for
from limbeck.studies.running import done
from limbeck.studies.steps import epochs_of, with_equal_steps
from limbeck.studies.tuning.sides import Side
from limbeck.studies.tuning.space import Tune

if TYPE_CHECKING:
    import optuna

FAILURES = 3
"""How many trials of a side may fail before any is finished."""
PAUSE = 1.0
"""Seconds between two looks at what other processes are at."""


class _StoppedError(Exception):
    """A trial is not worth its time, or there is no time left for it."""


@dataclass(frozen=True)
class Search:
    """One side, with where its trials go.

    Attributes:
        side: what is chosen among.
        home: the directory of the tuning: runs in `trials/SIDE-NUMBER`, what was tried in `trials.journal`.
        source: the data; its test split is shown to no trial.
        tune: budget and rungs.
        note: is told how each trial went.
    """

    side: Side
    home: Path
    source: Source
    tune: Tune
    note: Callable[[str], None] = field(default=lambda text: None)

    def run(self) -> None:
        """Tries until the budget is spent and no process is at a trial any more.

        Several processes may do so at once. A trial that was interrupted goes on.

        Raises:
            LimbeckError: if the first trials all fail.
        """
        study = self.opened()
        while True:
            spent = self._spent(study)
            taken = self._take(study, new=not spent)
            if taken is not None:
                trial, lock = taken
                try:
                    self._carry_out(study, trial, spent=spent)
                finally:
                    lock.release()
            elif self._running(study):
                time.sleep(PAUSE)
            else:
                return

    def opened(self) -> optuna.Study:
        """The record of its trials, in a file of JSON lines."""
        library = imported("optuna", "tune")
        library.logging.set_verbosity(library.logging.ERROR)
        journal = imported("optuna.storages.journal", "tune")
        self.home.mkdir(parents=True, exist_ok=True)
        backend = journal.JournalFileBackend(str(self.home / "trials.journal"))
        cell = self.side.cell(self.home, self.side.names[0], {})
        epochs = epochs_of(with_equal_steps(cell.config, cell.steps_of, self.source), self.source)
        pruner = library.pruners.SuccessiveHalvingPruner(
            min_resource=self.tune.first_rung or max(1, epochs // 9), reduction_factor=self.tune.reduction
        )
        study: optuna.Study = library.create_study(
            storage=library.storages.JournalStorage(backend),
            pruner=pruner,
            study_name=self.side.name,
            direction="maximize" if self.source.task.primary.higher else "minimize",
            load_if_exists=True,
        )
        return study

    def path(self, number: int) -> Path:
        """The run directory of a trial."""
        return self.home / "trials" / f"{self.side.name}-{number}"

    def _spent(self, study: optuna.Study) -> bool:
        """Whether the budget is spent; never before a trial is finished."""
        trials = study.get_trials(deepcopy=False)
        return seconds(trials) >= self.tune.seconds and any(
            trial.state.name == "COMPLETE" for trial in trials
        )

    def _running(self, study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
        """The trials that are not over."""
        return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "RUNNING"]

    def _take(self, study: optuna.Study, *, new: bool) -> tuple[optuna.Trial, FileLock] | None:
        """A trial with its lock, which this process then has: one that was left, or a new one.

        None if other processes are at all that are not over, and no new one is wanted.
        """
        optuna = imported("optuna", "tune")
        folder = self.home / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{self.side.name}.lock"):
            for left in self._running(study):
                lock = FileLock(folder / f"{self.side.name}-{left.number}.lock")
                with suppress(Timeout):
                    lock.acquire(timeout=0)
                    if any(trial.number == left.number for trial in self._running(study)):
                        return optuna.trial.Trial(study, left._trial_id), lock
                    lock.release()
            if not new:
                return None
            trial = study.ask()
            lock = FileLock(folder / f"{self.side.name}-{trial.number}.lock")
            lock.acquire()
            return trial, lock

    def _carry_out(self, study: optuna.Study, trial: optuna.Trial, *, spent: bool) -> None:
        """Runs a trial and records how it ended."""
        optuna = imported("optuna", "tune")
        seed = seed_for(self.side.seed, self.side.name, trial.number) % 2**32
        study.sampler = optuna.samplers.TPESampler(seed=seed)
        pruned, failed = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL
        path = self.path(trial.number)
        if spent and not Run(path).finished:  # it was left, and there is no time for it
            study.tell(trial, state=pruned)
            return
        name, values = self.side.suggested(trial)
        try:
            value = self._run(study, trial, name, values)
        except _StoppedError as error:
            study.tell(trial, state=pruned)
            shutil.rmtree(path / "checkpoints", ignore_errors=True)
            self.note(f"{self._said(trial, name, values)}: {error}")
        except Exception as error:  # whatever it is, other values may do
            log = self.home / "logs" / f"{self.side.name}-{trial.number}.log"
            write_text(log, traceback.format_exc())
            study.tell(trial, state=failed)
            self.note(f"{self._said(trial, name, values)}: failed, see {str(log)!r}")
            ends = [each.state for each in study.get_trials(deepcopy=False)]
            if ends.count(failed) >= FAILURES and optuna.trial.TrialState.COMPLETE not in ends:
                raise LimbeckError(
                    f"{ends.count(failed)} trials of the {self.side.name} side failed, and none is finished; "
                    f"the log of the last is {str(log)!r}: {error}"
                ) from None
        else:
            study.tell(trial, value)
            metric = self.source.task.primary
            self.note(f"{self._said(trial, name, values)}: validation {metric.label} {metric.show(value)}")

    def _run(self, study: optuna.Study, trial: optuna.Trial, name: str, values: Mapping[str, Any]) -> float:
        """The metric of a trial on validation, once its run is finished."""
        cell, path = self.side.cell(self.home, name, values), self.path(trial.number)
        metric = self.source.task.primary
        config = with_equal_steps(cell.config, cell.steps_of, self.source)
        epochs = epochs_of(config, self.source)
        begun, before = time.monotonic(), trial.user_attrs.get("seconds", 0.0)

        def count() -> None:
            trial.set_user_attr("seconds", round(before + time.monotonic() - begun, 3))

        def watch(epoch: int, figures: Mapping[str, float]) -> None:
            trial.report(figures[metric.name], epoch)
            count()
            if epoch == epochs or any("stopped" in line for line in Run(path).history):
                return  # it is over
            if trial.should_prune():
                value = metric.show(figures[metric.name])
                raise _StoppedError(f"stopped after epoch {epoch}, {value} on validation")
            if self._spent(study):
                raise _StoppedError(f"stopped after epoch {epoch}, as the time is spent")

        try:
            run = done(
                path,
                taught=bool(config.taught_by),
                config=config,
                data=unseen(self.source),
                watch=watch,
            )
        finally:
            count()
        shutil.rmtree(path / "checkpoints", ignore_errors=True)
        return float((run.result.metrics.validation or {})[metric.name])

    def _said(self, trial: optuna.Trial, name: str, values: Mapping[str, Any]) -> str:
        return f"{self.side.name} {trial.number}, {said(name, values)}"


def said(name: str, values: Mapping[str, Any]) -> str:
    """An objective with its values, "KD, weight=0.52, temperature=4"."""
    given = [
        f"{place}={value:.3g}" if isinstance(value, float) else f"{place}={show(value)}"
        for place, value in values.items()
    ]
    return ", ".join([name, *given])


def seconds(trials: list[optuna.trial.FrozenTrial]) -> float:
    """What trials have taken in all."""
    return float(sum(trial.user_attrs.get("seconds", 0.0) for trial in trials))


def unseen(source: Source) -> Source:
    """The data without its test split."""
    return replace(source, test=None)
