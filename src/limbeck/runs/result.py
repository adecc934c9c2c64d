"""What a run came to: the record that `result.json` holds, read and written here alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from limbeck.errors import LimbeckError
from limbeck.files import parse_json, write_text
from limbeck.runs.network_record import read_card
from limbeck.tasks import Metric
from limbeck.tasks.wording import told

UNNAMED = "teacher"
"""The name of a teacher that was not given one."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class StudentResult(_Record):
    """The student that came out.

    Attributes:
        model: the network, in the notation.
        parameters: how many numbers it has, with what a method grafted onto it.
    """

    model: str
    parameters: int


class AnswersResult(_Record):
    """A file of answers about training samples, and how far they reach.

    Attributes:
        samples: how many training samples there were.
        answered: how many of them have an answer.
        forms: how many answers are of each form, by the name of the field in the file.
        repeated: how many samples, those of one text counted once, have several answers.
        contradictory: how many of those have answers with different classes.
        elsewhere: how many rows are about samples held out for test or validation.
        unknown: how many rows are about no sample of the data.
        compared: how many training samples have a label and an answer.
        agreement: the primary metric of the task on these; None if there are none.
    """

    samples: int
    answered: int
    forms: dict[str, int]
    repeated: int = 0
    contradictory: int = 0
    elsewhere: int = 0
    unknown: int = 0
    compared: int = 0
    agreement: float | None = None

    def told(self, metric: Metric) -> str:
        """What they reach and are worth: "answers to 90 of 100 training samples, top-1 95.0 % on 80 labels".

        Args:
            metric: the primary one of the task.
        """
        reach = f"answers to {self.answered:,} of {self.samples:,} training samples"
        if self.agreement is None:
            return f"{reach}, of which none has a label"
        return f"{reach}, {metric.label} {told(metric, self.agreement)} on the {self.compared:,} with a label"


class TeacherResult(_Record):
    """A teacher as it was when the run began.

    Attributes:
        model: the network, in the notation, or where it lies.
        weights: a digest of its weights file; None if it has none.
        recipe: a digest of what made it except the seed; None if no run made it.
        labels: whether it learned from the "clean" or the "noisy" labels; None where the data has no noise.
        parameters: how many numbers it has; None for a file of answers.
        checkpoints: how many checkpoints of it taught in turn; None for a teacher that stayed as it was.
        cached: those of its outputs that were read from files.
        metrics: the metrics of the task on the test split; None if they were not measured.
        run: the run that it came from; None if it was no run.
        answers: what it says, if it is a file of answers; None for a network.
    """

    model: str
    weights: str | None = None
    recipe: str | None = None
    labels: str | None = None
    parameters: int | None
    checkpoints: int | None = None
    cached: tuple[str, ...] = ()
    metrics: dict[str, float] | None = None
    run: TeacherRun | None = None
    answers: AnswersResult | None = None


class TeacherRun(_Record):
    """A run that a teacher came from, as it was recorded there: the run itself may be gone.

    Attributes:
        model: the network that came out of it, in the notation.
        objective: in the notation.
        data: name of its data set, in the notation.
        metric: name of the primary metric of its task.
        metrics: that metric by split, as the run measured it.
        teachers: those that it had, by name, each with the run that it came from in turn.
        places: where those lay that were files or directories, as seen from the directory of the run.
    """

    model: str
    objective: str
    data: str
    metric: str
    metrics: dict[str, float]
    teachers: dict[str, TeacherResult] = {}
    places: dict[str, str] = {}


class Metrics(_Record):
    """The metrics of the task by split; None for a split that the data does not have."""

    test: dict[str, float] | None
    validation: dict[str, float] | None

    def on(self, split: str) -> dict[str, float]:
        """The metrics on a split.

        Args:
            split: "test" or "validation".
        Raises:
            LimbeckError: if the data has no such split.
        """
        found = self.by_split().get(split)
        if found is None:
            raise LimbeckError(f"the run was not measured on a {split} split, which its data does not have")
        return found

    def by_split(self) -> dict[str, dict[str, float]]:
        """The metrics of the splits that were measured."""
        splits = {"test": self.test, "validation": self.validation}
        return {split: found for split, found in splits.items() if found}


class BaselineResult(_Record):
    """The student alone: the same network, trained by the task's own objective in as many steps.

    With early stopping each of the two stops by its own figures, and their steps may differ.

    Attributes:
        place: the directory of its run, as seen from that of the student.
        objective: in the notation.
        parameters: how many numbers it has.
        steps: how many steps its optimizer took.
        phase_steps: how many of them the student beside it took in phases.
        metrics: metrics of the student alone.
        metric: name of the task's first metric, which the values below are of.
        split: split that they were measured on.
        values: value of the student and of the student alone by seed: the run's own, and those of runs
            beside it that have the same settings and a student alone too.
        difference: mean over the seeds of the student's value less that of the student alone.
        interval: 95 % Student-t interval of that mean; None from a single seed.
        verdict: on which side of 0 the whole interval lies, by what is better of the metric; None from fewer
            seeds than a verdict needs.
    """

    place: str
    objective: str
    parameters: int
    steps: int
    phase_steps: int = 0
    metrics: Metrics
    metric: str
    split: Literal["test", "validation"]
    values: dict[int, tuple[float, float]]
    difference: float
    interval: tuple[float, float] | None = None
    verdict: Literal["better", "worse", "undecided"] | None = None

    def in_steps(self, steps: int | None) -> str:
        """How long it was trained beside a student with so many steps, "in as many steps"."""
        counted = f", with the {self.phase_steps:,} of its phases" if self.phase_steps else ""
        taken = None if steps is None else steps + self.phase_steps
        if taken not in (None, self.steps):
            return f"in {self.steps:,} steps, beside {taken:,}{counted}"
        return f"in as many steps{counted}"


class ViewsResult(_Record):
    """The views that the run drew.

    Attributes:
        policy: in the notation.
        count: how many views of a sample the policy has.
        drawn: among how many of them the run drew.
    """

    policy: str
    count: int
    drawn: int


class DataResult(_Record):
    """The data that the run was made on.

    Attributes:
        name: name of the data set, in the notation.
        hub: its name on the Hugging Face hub; None if it has none.
        fingerprint: a digest of all of it.
        train: how many training samples the objective used.
        labeled: how many labels they have.
        validation: how many samples the validation split has; 0 if there is none.
        test: how many samples the test split has; 0 if there is none.
        outputs: how many outputs a network for the task has.
        measured: how many labels each split to measure on has.
        views: None in records of runs that had no views.
        noise: what was done to the training labels; None for clean ones.
        weights: smallest and largest weight of the training samples; None where all count alike.
    """

    name: str
    hub: str | None = None
    fingerprint: str
    train: int
    labeled: int
    validation: int
    test: int
    outputs: int
    measured: dict[str, int] = {}
    views: ViewsResult | None = None
    noise: str | None = None
    weights: tuple[float, float] | None = None


class Result(_Record):
    """The record of a finished run.

    Attributes:
        version: version of this format.
        objective: in the notation, with what `auto` came to.
        arguments: arguments of each method in the objective, with those left at their defaults.
        seed: the random seed.
        selection: whether the last epoch was kept or the best on the validation split.
        choices: precision, memory format and compilation; empty in records of before they were written down.
        task: the record of the task (see `limbeck.tasks.from_record`).
        student: see `StudentResult`.
        teachers: by name; `UNNAMED` for the one that was given without a name.
        metrics: metrics of the student.
        at_chance: whether the student is no better than one answer for all samples, by `chance.at_chance`;
            False where nobody can tell.
        agreement: share of the test rows on which student and teacher decide alike; None without a teacher,
            without a test split, and for a task in which nothing is decided.
        seconds: that training took, phases included.
        steps: how many steps the student's optimizer took in the training that follows the phases; None if
            it was not written down, as are the next.
        samples_seen: how many samples those steps were made of, repeated ones included.
        teacher_forwards: how many samples the networks of the teachers were shown in this process, phases
            included; fewer than `samples_seen` where answers came from a cache. A text that a teacher
            writes, or corrects while a student writes it, counts once.
        baseline: the student alone, beside which the student is shown, or a sentence on why there is none;
            None where none was asked for.
        notes: sentences on what was left out, and why.
        data: see `DataResult`.
    """

    version: Literal[2] = 2
    objective: str
    arguments: dict[str, Any]
    seed: int
    selection: Literal["last", "validation"]
    choices: dict[str, Any] = {}
    task: dict[str, Any]
    student: StudentResult
    teachers: dict[str, TeacherResult] = {}
    metrics: Metrics
    at_chance: bool = False
    agreement: float | None
    seconds: float
    steps: int | None = None
    samples_seen: int | None = None
    teacher_forwards: int | None = None
    baseline: BaselineResult | str | None = None
    notes: tuple[str, ...] = ()
    data: DataResult

    @field_validator("task")
    @classmethod
    def _as_json(cls, task: dict[str, Any]) -> dict[str, Any]:
        """As it is read back: with lists for tuples."""
        as_json: dict[str, Any] = json.loads(json.dumps(task))
        return as_json

    @property
    def alone(self) -> BaselineResult | None:
        """The student alone; None where there is none."""
        return self.baseline if isinstance(self.baseline, BaselineResult) else None

    @property
    def teacher(self) -> TeacherResult | None:
        """The teacher that the student was measured beside, or else the first; None without one."""
        return None if self.measured_beside is None else self.teachers[self.measured_beside]

    @property
    def measured_beside(self) -> str | None:
        """The name of that teacher."""
        names = [*self.teachers]
        return next((name for name in names if self.teachers[name].metrics), names[0] if names else None)

    @classmethod
    def read(cls, path: Path) -> Result:
        """The record in a file, of this version or of the one before versions were written down.

        Args:
            path: of a `result.json`. Beside one without a version lies the `student.safetensors` that says
                what the classes are called.
        Raises:
            LimbeckError: if the file is missing, damaged, or of a later version.
        """
        try:
            record = parse_json(path.read_text(encoding="utf-8"))
            if isinstance(record, dict) and "version" not in record:
                record = _from_unversioned(record, path.with_name("student.safetensors"))
            return cls.model_validate(record)
        except OSError as error:
            raise LimbeckError(f"{str(path)!r} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"])) or "all of it"
            raise LimbeckError(f"{str(path)!r} is damaged: {where}: {problem['msg']}") from None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise LimbeckError(f"{str(path)!r} is damaged: {error}") from None

    def write(self, path: Path) -> None:
        """Writes the record as JSON, whole or not at all."""
        write_text(path, self.model_dump_json(indent=2) + "\n")


def _from_unversioned(old: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    """The fields of version 2 from a record of before there were versions, which is of a classification."""
    student, teacher, data = dict(old["student"]), old["teacher"], dict(old["data"])
    student.pop("top1", None)
    width = data.pop("classes")
    card = read_card(weights) if weights.is_file() else None
    task = card.task if card else {"name": "classification", "names": tuple(map(str, range(width)))}
    data["outputs"] = width
    if "measured" not in data:
        data["measured"] = {split: data[split] for split in ("validation", "test") if data[split]}
    teachers = {}
    if teacher:
        teachers[UNNAMED] = dict(teacher)
        top1 = teachers[UNNAMED].pop("top1")
        teachers[UNNAMED]["metrics"] = None if top1 is None else {"top1": top1}
    return {
        **{key: value for key, value in old.items() if key != "teacher"},
        "arguments": old.get("arguments", {}),
        "task": task,
        "student": student,
        "teachers": teachers,
        "data": data,
    }
