"""Runs grouped by what was run: all that decides a result but the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.recipe import recipe, seedless
from limbeck.runs.result import Result


@dataclass(frozen=True)
class Finished:
    """A finished run with what its directory says of it."""

    run: Run

    @cached_property
    def result(self) -> Result:
        """Its `result.json`."""
        return self.run.result

    @property
    def seed(self) -> int:
        """Its seed."""
        return self.result.seed

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What decides its outcome but the seed, by dotted key."""
        return recipe(self.run)

    @cached_property
    def data(self) -> str:
        """The text of its data, with SEED for a seed that is the run's own."""
        return seedless(str(self.settings["data.name"]), self.seed)

    @property
    def teacher(self) -> tuple[str | None, str]:
        """Digests of how its teacher was made, if known, and of the weights, or else the text of it."""
        text = f"{self.settings['teacher.model']} {self.settings['teacher.weights']}"
        if (its := self.result.teacher) is None:
            return None, text
        return its.recipe, its.weights or text


def data_follows_seed(runs: Iterable[Finished]) -> bool:
    """Whether the data is drawn anew with each seed, as in `digits(labeled=100, seed=SEED)`."""
    return len({each.data for each in runs}) < len({each.settings["data.name"] for each in runs})


def group(runs: Sequence[Finished]) -> dict[str, list[Finished]]:
    """The runs by a name that says what sets each group apart, in the order they came.

    Raises:
        LimbeckError: two runs of a group have one seed.
    """
    follows, teachers = data_follows_seed(runs), _teachers(runs)
    groups: dict[str, list[Finished]] = {}
    settings: dict[str, Mapping[str, Any]] = {}
    for each in runs:
        what = {**each.settings, **({"data.name": each.data} if follows else {})}
        if "teacher.model" in what:
            what |= {"teacher.model": teachers[each.teacher], "teacher.weights": None}
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


def _teachers(runs: Iterable[Finished]) -> dict[tuple[str | None, str], str]:
    """A name for each teacher; one for all that were made alike but for the seed, if each seed has one."""
    taught = [each for each in runs if "teacher.model" in each.settings]
    seeds = {(*each.teacher, each.seed) for each in taught}
    at_seed = Counter((made, seed) for made, _, seed in seeds)
    mixed = {made for (made, _), count in at_seed.items() if count > 1}
    texts: dict[str, dict[str, str]] = {}
    which: dict[tuple[str | None, str], str] = {}
    for each in taught:
        made, weights = each.teacher
        which[each.teacher] = made if made and made not in mixed else weights
        texts.setdefault(which[each.teacher], {}).setdefault(weights, str(each.settings["teacher.model"]))
    names: dict[str, str] = {}
    for digest, by_weights in texts.items():
        first, *others = by_weights.values()
        name = f"{first} to {others[-1]}" if others else first
        names[digest] = f"{name} ({digest})" if name in names.values() else name
    return {teacher: names[digest] for teacher, digest in which.items()}


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
