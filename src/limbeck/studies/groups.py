"""Runs grouped by what was run: all that decides a result but the seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from limbeck.config import flat
from limbeck.errors import LimbeckError
from limbeck.notation import Call, Value, parse_call
from limbeck.runs import Run

IGNORED = {
    "seed",
    "data.dir",
    "training.device",
    "training.checkpoint_every",
    "training.trackers",
}
"""Settings that two runs of one thing may differ in."""


@dataclass(frozen=True)
class Finished:
    """A finished run with what its directory says of it."""

    run: Run

    @cached_property
    def result(self) -> dict[str, Any]:
        """Its `result.json`."""
        return self.run.result

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.result["seed"])

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its config by dotted key, with the objective and its arguments as they were resolved."""
        settings = flat(self.run.config.model_dump(mode="json"))
        kept = {key: value for key, value in settings.items() if key not in IGNORED}
        return {**kept, "objective": self.result["objective"]}

    @cached_property
    def data(self) -> str:
        """The text of its data, with SEED for a seed that is the run's own."""
        text = str(self.settings["data.name"])
        return text if text.startswith("<") else str(_seedless(parse_call(text, "data set"), self.seed))


def data_follows_seed(runs: Iterable[Finished]) -> bool:
    """Whether the data is drawn anew with each seed, as in `digits(labelled=100, seed=SEED)`."""
    return len({each.data for each in runs}) < len({each.settings["data.name"] for each in runs})


def group(runs: Sequence[Finished]) -> dict[str, list[Finished]]:
    """The runs by a name that says what sets each group apart, in the order they came.

    Raises:
        LimbeckError: two runs of a group have one seed.
    """
    follows = data_follows_seed(runs)
    groups: dict[str, list[Finished]] = {}
    settings: dict[str, Mapping[str, Any]] = {}
    for each in runs:
        what = {**each.settings, "data.name": each.data} if follows else each.settings
        settings[str(what)] = what
        groups.setdefault(str(what), []).append(each)
    names = dict(zip(groups, _names(list(settings.values())), strict=True))
    for key, members in groups.items():
        by_seed: dict[int, Finished] = {}
        for each in members:
            if (other := by_seed.setdefault(each.seed, each)) is not each:
                raise LimbeckError(
                    f"{str(other.run.path)!r} and {str(each.run.path)!r} are the same twice: {names[key]} "
                    f"with seed {each.seed}; each seed counts once, so leave one out"
                )
    return {names[key]: members for key, members in groups.items()}


def _names(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The objective of each group, and what else tells it from the others.

    A group without a teacher differs in it too, which its objective says already, if not that of another.
    """
    for teachers_alone in (True, False):
        telling = []
        for key in dict.fromkeys(key for each in settings for key in each if key != "objective"):
            beside = key.startswith("teacher.") and teachers_alone
            having = [each for each in settings if not beside or each.get("teacher.model")]
            if len({str(each.get(key)) for each in having}) > 1:
                telling.append(key)
        names = [
            ", ".join(
                [each["objective"], *(_said(key, each[key]) for key in telling if each.get(key) is not None)]
            )
            for each in settings
        ]
        if len(set(names)) == len(names):
            break
    return names


def _said(key: str, value: Any) -> str:
    words = {"student.model": "student", "teacher.model": "taught by", "data.name": "on"}
    return f"{words[key]} {value}" if key in words else f"{key.removeprefix('training.')}={value}"


def _seedless(value: Value, seed: int) -> Value:
    if not isinstance(value, Call):
        return value
    arguments = {
        name: Call("SEED") if name == "seed" and inner == seed else _seedless(inner, seed)
        for name, inner in value.kwargs.items()
    }
    return Call(value.name, tuple(_seedless(inner, seed) for inner in value.args), arguments)
