"""A search for the views to train in, by a population of trials that learn from one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from shlex import quote
from typing import Any

from limbeck.config import RunConfig, make_config
from limbeck.data import Source
from limbeck.data.views import Views
from limbeck.data.views.schedule import timed
from limbeck.data.views.space import Range, Values, mirrored, policy, space
from limbeck.files import write_text
from limbeck.runs import Run
from limbeck.runs.directory import write_json
from limbeck.runs.job import Job, prepare
from limbeck.runs.job_data import with_views
from limbeck.seeds import seed_for
from limbeck.studies.population import drawn, parents, perturbed
from limbeck.studies.running import done


@dataclass(frozen=True)
class Trial:
    """One of the population.

    Attributes:
        values: the parameters of its policy.
        start: the run whose weights it goes on from; None for fresh ones.
        past: the policies of the rounds before, its own or those of the trials it comes from.
    """

    values: Values
    start: Run | None = None
    past: tuple[Views, ...] = ()


@dataclass(frozen=True)
class PolicySearch:
    """A search: its directory, and what decides it.

    Attributes:
        path: the directory: `search.json`, what was asked and how each round went; `trial-N/R`, the run of
            trial N in round R; at the end `policy.yaml`, the config of a run with the policies that won.
        role: whose policy it is, "teacher" or "student".
        config: the run whose views are searched.
        source: its data.
        every: epochs of a round.
        population: number of trials.
        note: is told how each trial did.
    """

    path: Path
    role: str
    config: RunConfig
    source: Source
    every: int
    population: int
    note: Callable[[str], None] = field(default=lambda text: None)

    @property
    def rounds(self) -> list[range]:
        """The epochs of each round."""
        epochs = self.config.training.epochs
        return [range(start, min(start + self.every, epochs)) for start in range(0, epochs, self.every)]

    @property
    def space(self) -> dict[str, Range]:
        """The parameters that are searched."""
        return space(self.source)

    def policy(self, values: Values) -> Views:
        """The policy that parameters stand for."""
        return policy(values, mirror=mirrored(with_views(self.source, self.config).views))

    @property
    def command(self) -> str:
        """What trains with the policies that won."""
        does, file = "train" if self.role == "teacher" else "distill", self.path / "policy.yaml"
        if self.config.data.name.startswith("<"):
            return f'limbeck.{does}("{file}", data=...)'
        return f"limbeck {does} {quote(str(file))}"

    def first(self) -> Job:
        """The first trial's first run, made ready: nothing is written, and what cannot work is refused."""
        return prepare(self._config(0, self._drawn(0)), {"data": self._unseen})

    def run(self) -> None:
        """Searches, from where it was left."""
        seed, metric = self.config.seed, self.source.task.primary
        trials = [self._drawn(place) for place in range(self.population)]
        told: list[Any] = []
        runs: list[Run] = []
        scores: list[float] = []
        for number, epochs in enumerate(self.rounds):
            if number:
                random = Random(seed_for(seed, "population", number))
                trials = [
                    self._successor(trials[origin], runs[origin], None if origin == own else random)
                    for own, origin in enumerate(parents(scores, random))
                ]
            runs, measured = [], []
            for place, trial in enumerate(trials, 1):
                runs.append(self._run(number, place, trial))
                measured.append((runs[-1].result.metrics.validation or {})[metric.name])
                self.note(
                    f"epochs {epochs.start} to {epochs[-1]}, trial {place} of {self.population}: "
                    f"{metric.show(measured[-1])} on validation, {self.policy(trial.values)}"
                )
            scores = [value if metric.higher else -value for value in measured]
            told.append(
                [
                    {**self._told(trial), f"validation {metric.name}": value}
                    for trial, value in zip(trials, measured, strict=True)
                ]
            )
            write_json(self.path / "search.json", {**self.asked, "rounds": told})
        winner = max(range(self.population), key=lambda trial: (scores[trial], -trial))
        history = (*trials[winner].past, self.policy(trials[winner].values))
        best = f"trial {winner + 1} with {metric.show(measured[winner])} {metric.label} on validation"
        self._write_policy(timed(history, [epochs.start for epochs in self.rounds]), best)

    def _drawn(self, place: int) -> Trial:
        """A trial of the first round."""
        return Trial(drawn(self.space, Random(seed_for(self.config.seed, "policy", place))))

    def _successor(self, trial: Trial, run: Run, random: Random | None) -> Trial:
        """What goes on from a trial: with its policy, or with one near it, drawn from `random`."""
        values = trial.values if random is None else perturbed(trial.values, self.space, random)
        return Trial(values, run, (*trial.past, self.policy(trial.values)))

    @property
    def asked(self) -> dict[str, Any]:
        """What decides the search, as its record has it."""
        return {
            "role": self.role,
            "population": self.population,
            "every": self.every,
            "space": {name: asdict(range_) for name, range_ in self.space.items()},
            "data": self.source.fingerprint(),
            "config": self.config.model_dump(mode="json"),
        }

    @property
    def _unseen(self) -> Source:
        """The data without its test split, which no trial is measured on."""
        return replace(self.source, test=None)

    def _run(self, number: int, place: int, trial: Trial) -> Run:
        """A trial's run in a round, which is done already, goes on, or begins."""
        path = self.path / f"trial-{place}" / f"{number + 1}"
        return done(
            path, taught=self.role == "student", config=self._config(number, trial), data=self._unseen
        )

    def _config(self, number: int, trial: Trial) -> RunConfig:
        """A round's run: all start it with one seed, at the rate that the schedule has in its middle."""
        training, epochs = self.config.training, self.rounds[number]
        middle = 500 * (epochs.start + epochs.stop)  # in steps of which an epoch has 1000
        factor = training.schedule.at(middle, 1000, training.epochs)
        given: dict[str, Any] = {
            "data.views": str(self.policy(trial.values)),
            "training.epochs": len(epochs),
            "training.schedule": "constant",
            "training.optimizer.lr": training.optimizer.lr * factor,
            "training.trackers": [],
            "training.view_seed": None,
            "seed": seed_for(self.config.seed, "round", number),
        }
        if trial.start is not None:
            given["student.weights"] = str(trial.start.path / "student.safetensors")
        return make_config(None, {**self.config.model_dump(mode="json"), **given})

    def _told(self, trial: Trial) -> dict[str, Any]:
        """A trial as the record has it."""
        origin = None if trial.start is None else str(trial.start.path.relative_to(self.path))
        return {"from": origin, "views": str(self.policy(trial.values)), "values": dict(trial.values)}

    def _write_policy(self, views: Views, best: str) -> None:
        chosen = self.config.data.model_copy(update={"views": str(views)})
        head = (
            f"# The {self.role}'s views as limbeck search-views found them: {best}, of {self.population} "
            f"trials in {len(self.rounds)} rounds.\n# search.json says how each of them did.\n"
        )
        write_text(
            self.path / "policy.yaml", head + self.config.model_copy(update={"data": chosen}).to_yaml()
        )
