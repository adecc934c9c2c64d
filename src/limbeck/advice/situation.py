"""What is at hand: task, data, labels, teacher, budget."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from limbeck import tasks
from limbeck.advice.evidence import FEW, Labels
from limbeck.data import Source
from limbeck.data.kinds import Kind
from limbeck.errors import LimbeckError, unknown
from limbeck.models import NAMED
from limbeck.notation import parse_call
from limbeck.runs import Run
from limbeck.runs.network_names import ensemble_of
from limbeck.teachers.files.reading import is_answers

Teacher = Literal["none", "network", "logits", "embeddings", "answers", "several"]
"""What teaches: nothing; a network; something of which only logits can be read, or embeddings too; a file of
answers; several networks."""

Family = Literal["same", "other"]
"""Whether student and teacher are built alike, so that their stages mean the same."""


@dataclass(frozen=True)
class Situation:
    """What is at hand.

    Attributes:
        task: a name of `limbeck.tasks`.
        kind: of the inputs; None where it is not known.
        labels: which training samples have one.
        samples: how many training samples there are; None where it is not known.
        teacher: what teaches.
        family: whether the networks are of one family; None where it is not known.
        far: whether the teacher is far above its student.
        budget: most that a training step may cost, over one of the student alone; None for any.
    """

    task: str = "classification"
    kind: Kind | None = None
    labels: Labels = "all"
    samples: int | None = None
    teacher: Teacher = "network"
    family: Family | None = None
    far: bool = False
    budget: float | None = None

    def __post_init__(self) -> None:
        tasks.named(self.task)
        choices: Mapping[str, tuple[object, tuple[object, ...]]] = {
            "kind of inputs": (self.kind, (None, *get_args(Kind))),
            "kind of labels": (self.labels, get_args(Labels)),
            "kind of teacher": (self.teacher, get_args(Teacher)),
            "family": (self.family, (None, *get_args(Family))),
        }
        for what, (value, known) in choices.items():
            if value not in known:
                raise unknown(what, str(value), [each for each in known if isinstance(each, str)])
        if self.budget is not None and not self.budget >= 1:
            raise LimbeckError(
                f"a budget is the time of a training step over one of the student alone, at least 1, not "
                f"{self.budget:g}"
            )
        if self.samples is not None and self.samples < 1:
            raise LimbeckError(f"there must be at least one training sample, not {self.samples}")
        if self.labels == "none" and self.teacher == "none":
            raise LimbeckError("without labels and without a teacher there is nothing to learn from")

    @property
    def few(self) -> bool:
        """Whether there are few training samples."""
        return self.samples is not None and self.samples < FEW

    @property
    def taught(self) -> bool:
        """Whether anything teaches."""
        return self.teacher != "none"


def labels_of(source: Source) -> Labels:
    """Which training samples of a data set have a label."""
    if source.noise is not None:
        return "noisy"
    labeled = int(source.task.labeled(source.train.targets).sum())
    return "all" if labeled == len(source.train) else "some" if labeled else "none"


def teacher_of(texts: Collection[str]) -> Teacher:
    """What the teachers of a run are: texts as `--teacher` takes them, or one name of a kind of teacher.

    Raises:
        LimbeckError: for a run directory or a file that is not there.
    """
    if not texts:
        return "none"
    if len(texts) > 1:
        return "several"
    (text,) = texts
    if text in get_args(Teacher):
        return text  # type: ignore[return-value] # it is one of them
    if ensemble_of(text) is not None:
        return "several"
    looks_like_a_place = "/" in text and "(" not in text and ":" not in text
    if (looks_like_a_place or is_answers(text)) and not Path(text).exists():
        kinds = ", ".join(get_args(Teacher))
        raise LimbeckError(f"there is no teacher {text!r}; give what --teacher takes, or one of {kinds}")
    return "answers" if is_answers(text) else "network"


def family_of(student: str | None, teacher: str | None) -> Family | None:
    """Whether two networks are of one family, by what builds them; None where that cannot be told."""
    builders = [None if each is None else _builder(each) for each in (student, teacher)]
    if None in builders:
        return None
    return "same" if builders[0] == builders[1] else "other"


def _builder(model: str) -> str | None:
    """The name of what builds a network; that of a run is read from its record."""
    if model in get_args(Teacher):
        return None
    if Path(model).is_dir():
        run = Run(Path(model))
        return _builder(run.result.student.model) if run.finished else None
    if model.startswith("hf:"):
        return None  # an architecture has to be read for it
    text = NAMED.get(model, model)
    try:
        return parse_call(text, "model").name
    except LimbeckError:  # module:factory(...), a file
        return None


def situation(
    source: Source,
    teachers: Collection[str] = (),
    *,
    student: str | None = None,
    far: bool = False,
    budget: float | None = None,
) -> Situation:
    """What is at hand, read off data and networks.

    Args:
        source: the data.
        teachers: texts as `limbeck distill --teacher` takes them.
        student: a network, in the notation.
        far: whether the teacher is far above its student.
        budget: see `Situation`.
    """
    kind = teacher_of(teachers)
    return Situation(
        task=source.task.name,
        kind=source.kind,
        labels=labels_of(source),
        samples=len(source.train),
        teacher=kind,
        family=family_of(student, next(iter(teachers))) if kind == "network" else None,
        far=far,
        budget=budget,
    )
