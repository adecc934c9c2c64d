"""Figures of the papers, as data with their sources."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from limbeck.config_errors import explained
from limbeck.errors import unknown
from limbeck.yaml_text import read_yaml


class PublishedPair(BaseModel):
    """What a paper says of a student.

    Attributes:
        student: name of the network in limbeck.
        teacher: name of the network that taught it; None where there was none, or the student itself.
        teacher_accuracy: of that teacher.
        student_accuracy: of the student alone.
        methods: of the student by method, as the paper calls it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    student: str
    teacher: str | None = None
    teacher_accuracy: float | None = None
    student_accuracy: float | None = None
    methods: dict[str, float]


class Published(BaseModel):
    """A published table.

    Attributes:
        source: the paper, and where the figures were read.
        url: of that.
        data: name of the data set.
        metric: what the figures are, with their unit.
        protocol: how networks were trained and which epoch is reported.
        note: what else a reader should know.
        pairs: the figures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    url: str
    data: str
    metric: str
    protocol: str
    note: str = ""
    pairs: tuple[PublishedPair, ...]

    def of(self, teachers: tuple[str, ...], student: str) -> PublishedPair | None:
        """The figures of a pair of networks; None if the table has none.

        Args:
            teachers: the names of the teachers' networks in limbeck.
            student: that of the student's.
        """
        for pair in self.pairs:
            same = pair.teacher in teachers or (pair.teacher is None and teachers in ((), (student,)))
            if same and pair.student == student:
                return pair
        return None


def names() -> list[str]:
    """The tables that there are."""
    return [file.stem for file in sorted(Path(__file__).parent.glob("*.yaml"))]


def published(name: str) -> Published:
    """A table by its name.

    Raises:
        LimbeckError: for an unknown name.
    """
    if name not in names():
        raise unknown("published table", name, names())
    file = Path(__file__).parent / f"{name}.yaml"
    try:
        return Published.model_validate(read_yaml(file, Published, "table"))
    except ValidationError as error:
        raise explained(error, file, Published, "table") from None
