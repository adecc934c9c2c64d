"""The door to a tuning: checks what is asked, searches both sides, and runs what won with fresh seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from limbeck.config import flat
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.files import parse_json
from limbeck.optional import imported
from limbeck.runs import chance
from limbeck.runs.directory import Report, write_json
from limbeck.runs.job_data import data_of
from limbeck.studies.cells import Cells, cells_of
from limbeck.studies.outcome import Group, groups
from limbeck.studies.records import Records
from limbeck.studies.rehearsal import rehearse
from limbeck.studies.running import Progress, run_study
from limbeck.studies.study import Figures, ObjectiveEntry, Study
from limbeck.studies.tuning.search import Search, seconds
from limbeck.studies.tuning.sides import Side, sides_of
from limbeck.studies.tuning.space import Tune
from limbeck.training.world import launched


@dataclass(frozen=True)
class Tried:
    """A trial that is over.

    Attributes:
        number: of its side, from 0 on.
        state: "finished", "stopped" or "failed".
        objective: name of its objective.
        values: by place.
        epochs: after which it was last measured.
        value: the metric on validation then; None if it was never measured.
        seconds: that it took, loading and measuring counted.
    """

    number: int
    state: str
    objective: str
    values: Mapping[str, Any]
    epochs: int
    value: float | None
    seconds: float


@dataclass(frozen=True)
class Searched:
    """A side that has spent its budget.

    Attributes:
        side: the side.
        trials: all of them, by number.
        best: the one with the best metric on validation among those that are finished, of equals the first.
    """

    side: Side
    trials: tuple[Tried, ...]
    best: Tried

    @property
    def seconds(self) -> float:
        """What its trials took in all."""
        return sum(trial.seconds for trial in self.trials)


@dataclass(frozen=True)
class Tuned:
    """What came of a tuning.

    Attributes:
        study: the study with the values that won, of the baseline and of one other objective.
        source: its data.
        searched: both sides, the distilled one first.
        progress: of the runs with fresh seeds.
        group: what they reached; None until all of them are finished.
    """

    study: Study
    source: Source
    searched: tuple[Searched, Searched]
    progress: Progress
    group: Group | None


def tune(
    study: Study,
    home: Path,
    *,
    report: Report | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Tuned:
    """Chooses values for what a study leaves open, on the validation split; what `limbeck tune` does.

    The objectives other than the baseline share one budget of time, and the baseline has as much. What won on
    each side is run again with the seeds of the study, which no trial had, and only those runs see the test
    split. It may be stopped and called again, and several processes may do so at once.

    Args:
        study: with `tune`, and places that `space` has ranges for.
        home: the directory of the tuning.
        report: a function that writes the page of each run with a fresh seed.
        note: is told how each trial did.
    Raises:
        LimbeckError: for what cannot be tuned; nothing is run then.
    """
    imported("optuna", "tune")
    asked, seed = _checked(study)
    first = cells_of(study.filled({}), home)
    source = data_of(first.students[0].config)
    if source.validation is None:
        raise LimbeckError(
            f"{source.name} has no validation split, and nothing is chosen by the test split; hold some of "
            "the training data out"
        )
    sides = sides_of(study, home, source, seed)
    _try(sides, home)
    _check_same(home, _facts(sides, source, asked, first, home))
    _teachers(first, home, report, note)
    for side in sides:
        Search(side, home, source, asked, note).run()
    searched = _searched(sides[0], home, source, asked), _searched(sides[1], home, source, asked)
    return _retrained(study, home, source, searched, report, note)


def _checked(study: Study) -> tuple[Tune, int]:
    """What is asked of the search, and the seed of its trials."""
    if study.tune is None:
        raise LimbeckError('the study does not say how it is tuned; give tune: {budget: "30min"}')
    if len(study.all_pairs()) != 1:
        raise LimbeckError(
            f"a tuning is of one student with its teachers, and the study has {len(study.all_pairs())} "
            "pairs; name one under pairs"
        )
    if launched() > 1:
        raise LimbeckError("a tuning trains in one process; start it several times in place of a launcher")
    seed = max(study.seeds) + 1 if study.tune.seed is None else study.tune.seed
    if seed in study.seeds:
        raise LimbeckError(
            f"tune.seed={seed} is among the seeds of the study, which are for what won; choose another"
        )
    return study.tune, seed


def _try(sides: tuple[Side, Side], home: Path) -> None:
    """Makes a run of each objective at both ends of its ranges, so that what cannot work fails first."""
    for side in sides:
        for name in side.names:
            space = side.space(name)
            for end in (0, -1):
                cell = side.cell(home, name, {place: its.ends[end] for place, its in space.items()})
                finished = [need.key for need in cell.above if need.run.finished]
                rehearse(Cells(cell.above, (cell,)), finished, timed=False)


def _facts(sides: tuple[Side, Side], source: Source, asked: Tune, cells: Cells, home: Path) -> dict[str, Any]:
    """What decides a tuning, as its record has it."""
    told: dict[str, Any] = {"tune": asked.model_dump(mode="json"), "data": source.fingerprint()}
    for side in sides:
        cell = side.cell(home, side.names[0], {})
        told[side.name] = {
            "seed": side.seed,
            "student": cell.student,
            "space": {name: its.model_dump(mode="json") for name, its in side.study.space.items()},
            "objectives": {
                name: side.study.objectives[name].model_dump(mode="json", exclude={"published"})
                for name in side.names
            },
            "run": {key: value for key, value in cell.identity.items() if key != "objective"},
        }
    told["teachers"] = {cell.key: cell.digest for cell in cells.teachers}
    told["seeds"] = list(sides[0].study.seeds)
    return json.loads(json.dumps(told))  # type: ignore[no-any-return] # as the file has it


def _check_same(home: Path, facts: Mapping[str, Any]) -> None:
    """Refuses to go on with a tuning that was begun otherwise; writes down what a new one is."""
    home.mkdir(parents=True, exist_ok=True)
    file = home / "tune.json"
    with FileLock(home / ".tune.lock"):
        if not file.exists():
            write_json(file, facts)
            return
        there, here = flat(parse_json(file.read_text(encoding="utf-8"))), flat(facts)
    lines = [
        f"{key} was {there.get(key)!r} and is {here.get(key)!r}"
        for key in {**there, **here}
        if there.get(key) != here.get(key)
    ]
    if lines:
        raise LimbeckError(
            f"the study has changed since its tuning began in {str(home)!r}; change it back, or choose "
            "another directory (--out):\n  " + "\n  ".join(lines)
        )


def _teachers(cells: Cells, home: Path, report: Report | None, note: Callable[[str], None]) -> None:
    """Trains the teachers that are not there yet; that is no part of the budget."""
    if not cells.teachers:
        return
    records = Records(home / "results.json")
    progress = run_study(Cells(cells.teachers, ()), home, records, Figures(), report=report, note=note)
    for key, log in progress.failed.items():
        raise LimbeckError(f"{key} failed, and the tuning needs it; its log is {str(log)!r}")
    for cell in cells.teachers:
        if not cell.run.finished:
            raise LimbeckError(
                f"the run of the teacher {cell.student!r} is gone from {str(cell.path)!r}; put it back, or "
                "choose another directory (--out)"
            )
        if cell.run.result.at_chance and chance.is_certain(cell.run.result):
            raise LimbeckError(chance.as_teacher(cell.run, f"the teacher {cell.student!r}"))


def _searched(side: Side, home: Path, source: Source, asked: Tune) -> Searched:
    """What was tried on a side."""
    trials = []
    states = {"COMPLETE": "finished", "PRUNED": "stopped", "FAIL": "failed"}
    for trial in Search(side, home, source, asked).opened().get_trials(deepcopy=False):
        name, values = side.chosen(trial)
        last = max(trial.intermediate_values, default=0)
        value = trial.value if trial.state.name == "COMPLETE" else trial.intermediate_values.get(last)
        state = states[trial.state.name]
        trials.append(Tried(trial.number, state, name, values, last, value, seconds([trial])))
    sign = 1 if source.task.primary.higher else -1
    finished = [each for each in trials if each.state == "finished"]
    best = max(finished, key=lambda each: (sign * (each.value or 0.0), -each.number))
    return Searched(side, tuple(trials), best)


def _retrained(
    study: Study,
    home: Path,
    source: Source,
    searched: tuple[Searched, Searched],
    report: Report | None,
    note: Callable[[str], None],
) -> Tuned:
    """What won on each side, run with the seeds of the study.

    The other objectives stay in the study, since numbers of steps are made equal by them, and are not run.
    """
    distilled, alone = searched
    won = study.filled({distilled.best.objective: distilled.best.values})
    entry = alone.side.entry(study.baseline, alone.best.values)
    said = (
        f"Arguments were chosen on the validation split, by {len(distilled.trials)} and {len(alone.trials)} "
        f"trials with seed {distilled.side.seed}; the runs here have other seeds, and nothing was chosen by "
        "them."
    )
    won = won.model_copy(
        update={
            "objectives": {study.baseline: entry, **_without(won.objectives, study.baseline)},
            "note": f"{said} {study.note}".strip(),
        }
    )
    cells, names = cells_of(won, home), (study.baseline, distilled.best.objective)
    chosen = Cells(cells.teachers, tuple(cell for cell in cells.students if cell.objective in names))
    records = Records(home / "results.json")
    progress = run_study(chosen, home, records, study.figures, report=report, note=note)
    found = records.read()
    finished = all(cell.key in found for cell in chosen.students)
    return Tuned(won, source, searched, progress, groups(won, chosen, found)[0] if finished else None)


def _without(entries: Mapping[str, ObjectiveEntry], name: str) -> dict[str, ObjectiveEntry]:
    return {key: entry for key, entry in entries.items() if key != name}
