"""The cells of a study: every run that it is made of, each with its config and its directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.config import RunConfig, make_config
from limbeck.errors import LimbeckError
from limbeck.notation import parse as parse_notation
from limbeck.objective import parse
from limbeck.runs import optimizers
from limbeck.runs.directory import Run
from limbeck.runs.job_data import uses_unlabeled
from limbeck.runs.network_names import is_path
from limbeck.runs.recipe import settings
from limbeck.studies.study import Pair, StudentEntry, Study, TeacherEntry
from limbeck.teachers.files.reading import is_answers


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        key: its place below the directory of the study, "cifar100/resnet8-of-wrn_16_2/kd-0".
        config: what is run.
        path: its run directory.
        data: name of its data in the study.
        student: name of its student, or of the teacher that is trained.
        teachers: names of the teachers that it reads, in the study.
        objective: name of its objective in the study; None for a teacher.
        needs: the cells that train its teachers.
        steps_of: the objective, in the notation, of which it takes as many optimizer steps an epoch, where it
            learns from samples with labels alone and others of the study from all; else None.
    """

    key: str
    config: RunConfig
    path: Path
    data: str
    student: str
    teachers: tuple[str, ...]
    objective: str | None
    needs: tuple[Cell, ...] = ()
    steps_of: str | None = None

    @property
    def run(self) -> Run:
        """Its run."""
        return Run(self.path)

    @property
    def kind(self) -> str:
        """Its key without the seed; a teacher's is its key."""
        return self.key.rpartition("-")[0] if self.objective else self.key

    @property
    def above(self) -> tuple[Cell, ...]:
        """The cells that train its teachers, and the teachers of these, each after what it needs."""
        return tuple(each for need in self.needs for each in (*need.above, need))

    @property
    def group(self) -> str:
        """What its table is: "resnet8 taught by wrn_16_2 on cifar100"; the same without teachers."""
        return f"{self.student} on {self.data}"

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides its outcome, by dotted key, wherever the study lies; teachers by their digest."""
        its = {**settings(self.config), "seed": self.config.seed}
        made = {str(need.path): f"{need.student} {need.digest}" for need in self.needs}
        return {
            key: made.get(value, value) if isinstance(value, str) else value for key, value in its.items()
        }

    @property
    def digest(self) -> str:
        """16 hex digits of its identity."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Cells:
    """The cells of a study.

    Attributes:
        teachers: those that train teachers, each after the teachers that it needs.
        students: all others, seed after seed.
    """

    teachers: tuple[Cell, ...]
    students: tuple[Cell, ...]

    @property
    def all(self) -> tuple[Cell, ...]:
        """Teachers first."""
        return (*self.teachers, *self.students)

    def only(self, words: Sequence[str]) -> Cells:
        """The cells whose keys hold one of the words, with the teachers that they need.

        Raises:
            LimbeckError: for a word that no key holds.
        """
        if not words:
            return self
        for word in words:
            if not any(_holds(cell, word) for cell in self.all):
                raise LimbeckError(
                    f"no cell of the study has {word!r} (--only) in its name; a name is such as "
                    f"{self.all[-1].key!r}"
                )
        students = tuple(cell for cell in self.students if any(_holds(cell, word) for word in words))
        chosen = {cell.key for cell in self.teachers if any(_holds(cell, word) for word in words)}
        asked = [*students, *(cell for cell in self.teachers if cell.key in chosen)]
        chosen |= {need.key for cell in asked for need in cell.above}
        return Cells(tuple(cell for cell in self.teachers if cell.key in chosen), students)


def _holds(cell: Cell, word: str) -> bool:
    return word in cell.key or word == cell.objective


def cells_of(study: Study, home: Path) -> Cells:
    """Every run that a study is made of.

    Args:
        study: what is asked.
        home: the directory of the study.
    Raises:
        LimbeckError: for an objective, an argument or a training setting that is unknown; for an objective
            that reads a teacher where a pair has none; for cells that would write to one directory; and for a
            study with a space, which `limbeck tune` is for.
    """
    if study.space:
        raise LimbeckError(
            f"the study leaves {', '.join(study.space)} open (space); `limbeck tune` chooses their values"
        )
    teachers: dict[str, Cell] = {}

    def teacher(name: str) -> Cell | None:
        entry = study.teachers[name]
        if is_there(entry):
            return None
        if name not in teachers:
            above = [] if entry.teacher is None else [entry.teacher]
            data = study.data_of(entry.data, f"the teacher {name!r}")
            needs = [cell for cell in map(teacher, above) if cell]
            config = _config(
                study,
                data,
                _network(entry),
                _taught_by(study, above, needs, entry.objective or "0.1*ce + 0.9*kd"),
                entry.objective,
                (study.training, entry.training),
                entry.seed,
                f"the teacher {name!r}",
            )
            key = f"teachers/{slug(name)}"
            teachers[name] = Cell(key, config, home / key, data, name, tuple(above), None, tuple(needs))
        return teachers[name]

    students: dict[str, Cell] = {}
    for seed in study.seeds:
        for pair in study.all_pairs():
            for name in study.objectives:
                cell = _student(study, pair, name, seed, home, teacher)
                other = students.setdefault(cell.key, cell)
                if (other.config, other.objective) != (cell.config, cell.objective):
                    what = f"{cell.group} by {cell.objective!r} with seed {seed}"
                    than = f"{other.group} by {other.objective!r} with seed {other.config.seed}"
                    raise LimbeckError(
                        f"{what} and {than} would both write to {str(cell.path)!r}; rename one of the two"
                    )
    slugs: dict[str, str] = {}
    for name in study.teachers:
        if (other_name := slugs.setdefault(slug(name), name)) != name:
            raise LimbeckError(
                f"the teachers {name!r} and {other_name!r} would share a directory; rename one"
            )
    return Cells(tuple(teachers.values()), tuple(students.values()))


def is_there(entry: TeacherEntry) -> bool:
    """Whether a teacher is there already: weights, a run, a file of answers; the study trains any other."""
    return entry.weights is not None or is_path(entry.model) or entry.model.startswith("hf:")


def _student(study: Study, pair: Pair, name: str, seed: int, home: Path, teacher: Any) -> Cell:
    entry, student = study.objectives[name], study.students[pair.student]
    data = study.data_of(pair.data, f"the pair of {pair.student!r}")
    parse_notation(entry.objective)
    objective = parse(entry.objective)
    reads = objective.all_reads.teacher
    if reads and not pair.teachers:
        raise LimbeckError(
            f"the objective {name!r} reads a teacher, and the pair of {pair.student!r} on {data!r} has none"
        )
    names = pair.teachers if reads else ()
    needs = tuple(cell for cell in map(teacher, names) if cell)
    config = _config(
        study,
        data,
        _network(student),
        _taught_by(study, names, needs, entry.objective),
        entry.objective,
        (study.training, student.training, pair.training, entry.training),
        seed,
        f"{name!r} of {pair.student!r}",
    )
    place = slug(pair.student) + (f"-of-{'-'.join(map(slug, names))}" if names else "")
    key = f"{slug(data)}/{place}/{slug(name)}-{seed}"
    steps_of = None if uses_unlabeled(objective) else _from_all(study)
    return Cell(key, config, home / key, data, pair.student, names, name, needs, steps_of)


def _from_all(study: Study) -> str | None:
    """An objective that learns from samples without labels too: the baseline, or else the first such one."""
    baseline = study.objectives[study.baseline]
    for entry in (baseline, *study.objectives.values()):
        parse_notation(entry.objective)
        if uses_unlabeled(parse(entry.objective)):
            return entry.objective
    return None


def _network(entry: TeacherEntry | StudentEntry) -> dict[str, Any]:
    """What a config says of the network of an entry."""
    beside = {
        "data",
        "objective",
        "teacher",
        "training",
        "seed",
        "labels",
        "outputs",
        "trust",
        "cache",
        "top",
    }
    dumped: dict[str, Any] = entry.model_dump(mode="json", exclude_unset=True)
    return {key: value for key, value in dumped.items() if key not in beside}


def _taught_by(study: Study, names: Sequence[str], needs: Sequence[Cell], objective: str) -> dict[str, Any]:
    """What a config says of its teachers."""
    if not names:
        return {}
    trained = {cell.student: str(cell.path) for cell in needs}
    kept = {"logits", "embedding"} if study.cache == "both" else {study.cache}
    cached = study.cache is not None and set(parse(objective).all_reads.teacher) <= kept
    made = {}
    for name in names:
        entry = study.teachers[name]
        own = entry.model_dump(mode="json", exclude_unset=True)
        for key in ("data", "objective", "teacher", "training", "seed"):
            own.pop(key, None)
        if name in trained:
            own = {key: own[key] for key in ("labels", "trust", "cache", "top") if key in own}
            own["model"] = trained[name]
        if cached and not is_answers(entry.model):
            own.setdefault("cache", study.cache)
        made[name] = own
    if len(made) == 1:
        return {"teacher": next(iter(made.values()))}
    return {"teachers": {slug(name).replace("-", "_"): own for name, own in made.items()}}


def _config(
    study: Study,
    data: str,
    network: Mapping[str, Any],
    taught_by: Mapping[str, Any],
    objective: str | None,
    training: Sequence[Mapping[str, Any]],
    seed: int,
    whose: str,
) -> RunConfig:
    """The config of a run, with the later of its training settings over the earlier ones."""
    values: dict[str, Any] = {
        "data": study.data[data].model_dump(mode="json"),
        "student": dict(network),
        **taught_by,
        "objective": objective,
        "seed": seed,
        "training": {},
    }
    for part in training:
        values["training"] = _over(values["training"], part)
    try:
        return optimizers.settled(make_config(None, values))
    except LimbeckError as error:
        raise LimbeckError(f"{whose}: {error}") from None


def _over(there: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others over them; a part that names another optimizer or schedule replaces the whole."""
    merged = dict(there)
    for key, value in part.items():
        inner = merged.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping) and "name" not in value:
            merged[key] = _over(inner, value)
        else:
            merged[key] = value
    return merged


def slug(name: str) -> str:
    """A name as the name of a directory."""
    kept = "".join(letter if letter.isalnum() or letter == "_" else "-" for letter in name.lower())
    return "-".join(filter(None, kept.split("-")))
