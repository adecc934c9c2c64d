"""A study as its file says it: one question, and the grid of runs that answers it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from limbeck.config import DataConfig, StudentConfig, TeacherConfig, merged
from limbeck.config_errors import explained
from limbeck.errors import LimbeckError, unknown
from limbeck.studies.published import published
from limbeck.studies.tuning.space import OBJECTIVE, Range, Tune, in_notation, in_settings, placeholders
from limbeck.urls import is_url
from limbeck.yaml_text import read_yaml

WHAT = "study"
"""What the file is called in messages."""


def _named(training: dict[str, Any]) -> dict[str, Any]:
    """Settings in which an optimizer or a schedule that is a text is a mapping with its name.

    So that what comes over them, such as a learning rate alone, changes it and does not replace it.
    """
    return {
        key: {"name": value} if key in ("optimizer", "schedule") and isinstance(value, str) else value
        for key, value in training.items()
    }


Training: TypeAlias = Annotated[dict[str, Any], AfterValidator(_named)]
"""Settings of `training`, as in a config."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TeacherEntry(TeacherConfig):
    """A teacher: one that is there already, or one that is trained within the study."""

    data: str | None = Field(None, description="data it is trained on; null: the study's, if there is one")
    objective: str | None = Field(None, description="what it learns by; null: what its task recommends")
    teacher: str | None = Field(None, description="teacher that it is a student of")
    training: Training = Field(default_factory=dict, description="how it is trained, as in a config")
    seed: int = Field(0, ge=0)


class StudentEntry(StudentConfig):
    """A student, with what differs in its training from the study's."""

    training: Training = Field(default_factory=dict, description="over the study's training")


class ObjectiveEntry(_Part):
    """What students learn by."""

    objective: str = Field(description="in the notation")
    training: Training = Field(default_factory=dict, description="over that of study and student")
    published: str | None = Field(None, description="name of the method in published tables; null: its own")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"objective": value} if isinstance(value, str) else value


class Pair(_Part):
    """A student with the teachers that its objectives read, on data."""

    student: str
    teacher: str | tuple[str, ...] | None = None
    data: str | None = Field(None, description="null: the study's, if there is one")
    training: Training = Field(default_factory=dict, description="over the study's and the student's")

    @property
    def teachers(self) -> tuple[str, ...]:
        """The names of its teachers."""
        return (self.teacher,) if isinstance(self.teacher, str) else self.teacher or ()


class TransferTo(DataConfig):
    """Another data set, on which a new linear classifier is trained over each frozen student."""

    epochs: int | None = Field(None, ge=1)
    rates: tuple[float, ...] = ()
    keep_views: int | None = Field(
        None, ge=1, description="views of each sample whose embeddings are kept; null: all are computed anew"
    )


class Figures(_Part):
    """What is measured of each student beside its task's metrics."""

    samples: bool = Field(True, description="which test samples it gets right, for the bootstrap")
    noise: int | None = Field(None, ge=1, description="test samples that are shown with noise")
    transfer: dict[str, TransferTo] = Field(default_factory=dict, description="data sets by name")


class Study(_Part):
    """One question and the grid that answers it: pairs x objectives x seeds."""

    question: str = Field(description="what the study is to answer, in a sentence")
    seeds: tuple[int, ...] = Field(description="list of seeds, or their number")
    data: dict[str, DataConfig] = Field(description="data sets by name, or one data set")
    teachers: dict[str, TeacherEntry] = Field(default_factory=dict)
    students: dict[str, StudentEntry]
    pairs: tuple[Pair, ...] = Field((), description="none: each student with each teacher")
    objectives: dict[str, ObjectiveEntry]
    baseline: str = Field(description="objective that the others are compared with")
    training: Training = Field(default_factory=dict, description="what all share, as in a config")
    cache: Literal["logits", "embedding", "both"] | None = Field(
        None, description="answers of teachers that are kept in files, for objectives that read no others"
    )
    figures: Figures = Figures()
    published: tuple[str, ...] = Field((), description="published tables to set beside")
    space: dict[str, Range] = Field(
        default_factory=dict, description="what `limbeck tune` chooses: lists or ranges, for the places $NAME"
    )
    tune: Tune | None = Field(None, description="how `limbeck tune` searches")
    note: str = Field("", description="a sentence that stands under each table")
    small: dict[str, Any] = Field(default_factory=dict, description="what --scale small changes")

    @field_validator("seeds", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return tuple(range(value)) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("seeds")
    @classmethod
    def _once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
            raise ValueError("should be one seed or more, from 0 on, each once")
        return seeds

    @field_validator("data", mode="before")
    @classmethod
    def _one(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("name"), str)):
            return {"data": value}
        return value

    @field_validator("teachers", "students", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {name: name for name in value} if isinstance(value, list) else value

    def data_of(self, name: str | None, whose: str) -> str:
        """The name of the data set that a teacher or a pair is for.

        Raises:
            LimbeckError: if it is not named where there are several.
        """
        if name is not None:
            return name
        if len(self.data) > 1:
            raise LimbeckError(f"{whose} does not say its data; the study has {', '.join(self.data)}")
        return next(iter(self.data))

    def filled(self, values: Mapping[str, Mapping[str, Any]]) -> Study:
        """The study with values in the places of its objectives, and no space any more.

        Args:
            values: by the name of an objective and of a place; of a range that is not named its first.
        """
        first = {name: range_.ends[0] for name, range_ in self.space.items()}
        made = {}
        for name, entry in self.objectives.items():
            chosen = {**first, **values.get(name, {})}
            made[name] = ObjectiveEntry(
                objective=in_notation(entry.objective, chosen),
                training=in_settings(entry.training, chosen),
                published=entry.published,
            )
        return self.model_copy(update={"objectives": made, "space": {}})

    def all_pairs(self) -> tuple[Pair, ...]:
        """The pairs as given, or each student with each teacher."""
        if self.pairs:
            return self.pairs
        teachers: list[str | None] = [*self.teachers] or [None]
        return tuple(
            Pair(student=student, teacher=teacher) for teacher in teachers for student in self.students
        )


def read_study(file: Path | str, scale: Literal["full", "small"] = "full") -> Study:
    """The study in a YAML file.

    Args:
        file: a path, an address, or the name of a study that limbeck ships, such as `cifar100-crd`.
        scale: "small" applies what the file has under `small`, and has every table say so.
    Raises:
        LimbeckError: naming the key or the name that is unknown, and the nearest that is known.
    """
    path = located(file)
    raw = read_yaml(path, Study, WHAT)
    if scale == "small":
        if not isinstance(raw.get("small"), dict):
            raise LimbeckError(f"{str(file)!r} has nothing under small, which --scale small would apply")
        whole = _read(raw, path).model_dump(exclude_unset=True)  # every part in its long form
        raw = merged(whole, raw["small"])
        said = raw.get("note", "")
        small = "Run with --scale small: on a subset and with a shorter schedule than the protocol's."
        raw["note"] = f"{small} {said}".strip()
    study = _read(raw, path)
    _check_names(study)
    return study


def _read(raw: Mapping[str, Any], path: Path | str) -> Study:
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        raise explained(error, path, Study, WHAT) from None


def shipped() -> dict[str, Path]:
    """The studies that limbeck ships, by name."""
    folder = Path(__file__).parent / "protocols"
    return {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def located(place: Path | str) -> Path | str:
    """The file of a study, which may be named as one that limbeck ships, or have an address.

    Raises:
        LimbeckError: if there is no such file and no such name.
    """
    if is_url(place):
        return place
    file = Path(place)
    if file.is_file():
        return file
    if file.suffix or len(file.parts) > 1:
        raise LimbeckError(f"there is no study {str(file)!r}")
    known = shipped()
    if file.name not in known:
        raise unknown("study", file.name, known)
    return known[file.name]


def _check_names(study: Study) -> None:
    """Refuses a name that the study uses and does not have."""

    def known(kind: str, name: str | None, names: Mapping[str, Any]) -> None:
        if name is not None and name not in names:
            raise unknown(kind, name, names)

    for part in ("data", "students", "objectives"):
        if not getattr(study, part):
            raise LimbeckError(f"the study has no {part}")
    known("baseline, an objective of the study:", study.baseline, study.objectives)
    for name, teacher in study.teachers.items():
        known(f"data of the teacher {name!r}:", teacher.data, study.data)
        known(f"teacher of the teacher {name!r}:", teacher.teacher, study.teachers)
        above, seen = teacher.teacher, [name]
        while above is not None:
            if above in seen:
                raise LimbeckError(
                    f"the teachers {' and '.join(map(repr, seen))} teach each other in a circle"
                )
            seen.append(above)
            above = study.teachers[above].teacher if above in study.teachers else None
    for name in study.published:
        published(name)
    _check_space(study)
    for pair in study.pairs:
        known("student of a pair:", pair.student, study.students)
        known("data of a pair:", pair.data, study.data)
        for name in pair.teachers:
            known("teacher of a pair:", name, study.teachers)


def _check_space(study: Study) -> None:
    """Refuses a place without a range, and a range without a place."""
    used = set()
    for name, entry in study.objectives.items():
        for place in placeholders([entry.objective, entry.training]):
            if place not in study.space:
                raise unknown(f"place of the objective {name!r}, a range under space:", place, study.space)
            used.add(place)
    if OBJECTIVE in study.space:
        raise LimbeckError(f"no range may be named {OBJECTIVE!r}: the choice of an objective is called so")
    for name in study.space:
        if name not in used:
            raise LimbeckError(f"the range {name!r} is used nowhere; an objective has its value as ${name}")
