"""The two sides of a tuning: the objectives of a study, and its baseline, each with what it may choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.config import RunConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.notation import show
from limbeck.studies.cells import Cell, cells_of
from limbeck.studies.study import ObjectiveEntry, Study
from limbeck.studies.tuning.space import OBJECTIVE, Range, placeholders
from limbeck.tasks import Classification

if TYPE_CHECKING:
    import optuna

SMOOTHING = Range(low=0.0, high=0.3)
DECAY = Range(low=1e-6, high=1e-2, log=True)
FACTOR = 10.0
"""The learning rate of a baseline without a space of its own is searched from a tenth of it to ten times."""


@dataclass(frozen=True)
class Side:
    """One side, which is searched by itself.

    Attributes:
        name: "distilled" or "alone".
        study: in which every objective has its places.
        names: the objectives that are chosen among.
        seed: of all its trials.
    """

    name: str
    study: Study
    names: tuple[str, ...]
    seed: int

    def space(self, name: str) -> dict[str, Range]:
        """The ranges that an objective uses."""
        entry = self.study.objectives[name]
        used = dict.fromkeys(placeholders([entry.objective, entry.training]))
        return {place: self.study.space[place] for place in used}

    def suggested(self, trial: optuna.Trial) -> tuple[str, dict[str, Any]]:
        """The objective and the values of a trial; of one that goes on those that it has."""
        name = self.names[0]
        if len(self.names) > 1:
            name = str(trial.suggest_categorical(OBJECTIVE, self.names))
        return name, {place: _suggested(trial, place, its) for place, its in self.space(name).items()}

    def chosen(self, trial: optuna.trial.FrozenTrial) -> tuple[str, dict[str, Any]]:
        """The objective and the values of a trial that is over."""
        name = trial.params.get(OBJECTIVE, self.names[0])
        values = {place: _value(its, trial.params[place]) for place, its in self.space(name).items()}
        return name, values

    def cell(self, home: Path, name: str, values: Mapping[str, Any]) -> Cell:
        """The cell of an objective with values in its places, and the seed of trials."""
        filled = self.study.filled({name: values}).model_copy(update={"seeds": (self.seed,)})
        return next(cell for cell in cells_of(filled, home).students if cell.objective == name)

    def entry(self, name: str, values: Mapping[str, Any]) -> ObjectiveEntry:
        """An objective with values in its places."""
        return self.study.filled({name: values}).objectives[name]


def sides_of(study: Study, home: Path, source: Source, seed: int) -> tuple[Side, Side]:
    """The objectives of a study, and its baseline.

    A baseline that leaves nothing open gets a space of its own: learning rate, weight decay, and for
    cross-entropy label smoothing.

    Args:
        study: with a space.
        home: the directory of the tuning.
        source: the data.
        seed: of all trials.
    Raises:
        LimbeckError: if there is nothing to choose.
    """
    names = tuple(name for name in study.objectives if name != study.baseline)
    distilled = Side("distilled", study, names, seed)
    if not names or (len(names) == 1 and not distilled.space(names[0])):
        raise LimbeckError(
            "there is nothing to choose: give two objectives or more besides the baseline, or one with a "
            "place such as $weight and its range under space"
        )
    alone = Side("alone", study, (study.baseline,), seed)
    if not alone.space(study.baseline):
        config = alone.cell(home, study.baseline, {}).config
        alone = Side("alone", _with_space(study, config, source), (study.baseline,), seed)
    return distilled, alone


def _with_space(study: Study, config: RunConfig, source: Source) -> Study:
    """The study with a space for its baseline alone."""
    entry, lr = study.objectives[study.baseline], config.training.optimizer.lr
    space = {"lr": Range(low=lr / FACTOR, high=lr * FACTOR, log=True), "weight_decay": DECAY}
    objective = entry.objective
    if objective == "ce" and isinstance(source.task, Classification):
        objective, space = "label_smoothing(epsilon=$smoothing)", {**space, "smoothing": SMOOTHING}
    there = entry.training.get("optimizer", {})
    optimizer = {**there, "lr": "$lr", "weight_decay": "$weight_decay"}
    tuned = entry.model_copy(
        update={"objective": objective, "training": {**entry.training, "optimizer": optimizer}}
    )
    objectives = {name: each for name, each in study.filled({}).objectives.items() if name != study.baseline}
    return study.model_copy(update={"space": space, "objectives": {**objectives, study.baseline: tuned}})


def _suggested(trial: optuna.Trial, name: str, its: Range) -> Any:
    if its.choices:
        return _value(its, trial.suggest_categorical(name, [show(each) for each in its.choices]))
    if isinstance(its.low, int) and isinstance(its.high, int):
        return trial.suggest_int(name, its.low, its.high, log=its.log)
    assert its.low is not None
    assert its.high is not None
    return trial.suggest_float(name, its.low, its.high, log=its.log)


def _value(its: Range, stored: Any) -> Any:
    """A value as the study has it; choices are stored as the notation writes them."""
    return next(each for each in its.choices if show(each) == stored) if its.choices else stored
