"""Task: what the targets are, what one decision is, and what "good" means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.plugins import package_of
from limbeck.tasks.rows import Rows
from limbeck.tasks.sections import Section

if TYPE_CHECKING:
    from limbeck.features import FeaturePoints
    from limbeck.tasks.parts.rates import Rate


class Metric(NamedTuple):
    """A figure by which networks are measured.

    Attributes:
        name: the key in records, such as "top1".
        label: what people call it, such as "top-1".
        scale: a value is multiplied by this to be shown; 100 for a share that is shown in percent.
        unit: what stands behind a shown value, such as "%"; empty if nothing does.
        higher: whether a larger value is better.
        hub: what the Hugging Face hub calls the metric, in a model card; its name if empty.
    """

    name: str
    label: str
    scale: float = 1.0
    unit: str = ""
    higher: bool = True
    hub: str = ""

    def better(self, value: float, than: float) -> bool:
        """Whether one value is better than another; NaN never is."""
        return value > than if self.higher else value < than

    def show(self, value: float, digits: int | None = None) -> str:
        """The value for people, for example "97.2 %".

        Args:
            value: value of the metric, as records have it.
            digits: after the point; if left out 1 for a percentage, and 3 for others.
        """
        digits = (1 if self.unit == "%" else 3) if digits is None else digits
        return f"{self.scale * value:.{digits}f} {self.unit}".rstrip()


class Findings(BaseModel):
    """What a task found out about one network on one split, for `evaluation.json`; each task has its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    @property
    def shipped(self) -> dict[str, Any]:
        """What a user of an exported network must know of these findings, JSON by key, such as thresholds."""
        return {}


class Meter(ABC):
    """Measures one network while its answers come in, in constant memory.

    What needs the scores of all rows, such as calibration, keeps them up to a bound, and beyond it a seeded
    sample; `notes` says so.
    """

    @abstractmethod
    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in a network's outputs for a batch, both as the network and the loader gave them."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The task's metrics by name, in their order there, without those that cannot be measured.

        Raises:
            LimbeckError: if no row has a target.
        """

    def only_metrics(self) -> Meter:
        """The meter itself, told before its first batch that it will be asked for nothing but `compute`."""
        return self

    def intervals(self) -> dict[str, Rate]:
        """95 % intervals by name of those metrics that are shares of rows."""
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was measured on a part of the rows only."""
        return ()


class Comparison(ABC):
    """Measures how a student agrees with its teacher while both answer, in constant memory."""

    @abstractmethod
    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        """Takes in both networks' outputs for a batch."""

    @abstractmethod
    def compute(self) -> Agreement:
        """What was found."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was measured on a part of the rows only."""
        return ()


class Example(BaseModel):
    """A sample on which student and teacher differ, for people to look at.

    Attributes:
        index: its position in the split.
        target: what it should be, for people; so are the next two.
        student: what the student says.
        teacher: what the teacher says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    target: str
    student: str
    teacher: str


class Agreement(BaseModel):
    """How close a student's answers are to its teacher's; a task may add fields of its own.

    Attributes:
        agreement: share of the rows that both decide alike, in [0, 1]; None where a task has no such thing.
        distance: mean distance of the answers; the task says of what kind in `Task.distance`.
        examples: up to 12 samples that the teacher gets right and the student wrong, the worst first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    agreement: float | None
    distance: float
    examples: tuple[Example, ...] = ()


class Task(ABC):
    """What a network is for. It is the one place that knows what targets and outputs mean.

    A task is a frozen dataclass: its fields are its `record`, from which `limbeck.tasks.from_record` makes it
    again. The first of its metrics selects epochs and is plotted and compared.

    Class attributes:
        name: in records and on the command line.
        hub_tag: the pipeline tag of the Hugging Face hub; None if it has none.
        columns_hold: what columns of a file hold for this task: "classes", one column of names or numbers
            that become ids (N,); "labels", which apply or not, (N, L); "values", numbers (N, K); or "tags", a
            list with one for each word, (N, W).
        scores: what the columns of a row are: "classes", of which one is right, "values" to be met, or
            the components of "vectors" that are compared with each other.
        one_row_per_sample: whether row i is sample i.
        even: whether every sample has the same number of rows. If not, training counts the valid rows of
            every batch over all processes.
        dense: whether the embedding has positions, which are rows: a map (B, D, H, W), or hidden states
            (B, L, D).
        spatial: whether targets are maps or boxes, which views move as they move pixels.
        boxed: whether they are boxes (N, M, 5), each x1, y1, x2, y2 in pixels and a class id, -1 for none.
        restores: whether targets are images, perhaps larger than the inputs by a whole factor. Networks then
            get pixels as they are, without the normalization of the data.
        ignored: the target of what is no row at all where targets are spatial: a pixel that does not count.
        fields: further outputs of a network that rows and meters read, by the names that it gives them.
        optional: those of them that only a student needs to have.
        embeds: whether the output of a network is an embedding, as wide as the network makes it; `width` is 0
            then, and the outputs have no names.
        decisions: what the page of a run calls that of which `Agreement.agreement` is a share.
        distance: what `Agreement.distance` is, for people.
        findings: the class of what `measure` returns.
        agreement: the class of what a `Comparison` returns.
        metrics: what networks are measured by.
    """

    name: ClassVar[str]
    hub_tag: ClassVar[str | None] = None
    columns_hold: ClassVar[Literal["classes", "labels", "values", "tags"]] = "classes"
    scores: ClassVar[Literal["classes", "values", "vectors"]] = "classes"
    one_row_per_sample: ClassVar[bool] = True
    even: ClassVar[bool] = True
    dense: ClassVar[bool] = False
    spatial: ClassVar[bool] = False
    boxed: ClassVar[bool] = False
    fields: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()
    restores: ClassVar[bool] = False
    ignored: ClassVar[int] = UNLABELED
    embeds: ClassVar[bool] = False
    decisions: ClassVar[str] = "rows"
    distance: ClassVar[str] = "mean KL(teacher, student) in nats"
    findings: ClassVar[type[Findings]]
    agreement: ClassVar[type[Agreement]] = Agreement
    metrics: ClassVar[tuple[Metric, ...]]

    names: tuple[str, ...]
    """What the targets are called: classes, labels or values; one for each of the `outputs` by default."""

    @property
    def width(self) -> int:
        """How many outputs the head of a network has."""
        return len(self.outputs)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What each output of the network is called, in the order of the answer."""
        return self.names

    def fits(self, width: int) -> bool:
        """Whether a head with so many outputs can serve the task: the task's own, by default."""
        return width == self.width

    @property
    def columns(self) -> int:
        """C, how many scores a row has."""
        return self.width

    @property
    def primary(self) -> Metric:
        """The metric that selects epochs and is compared."""
        return self.metrics[0]

    @property
    def summary(self) -> str:
        """What the outputs are, for people: "10 classes"."""
        return f"{self.width} outputs"

    def record(self) -> dict[str, Any]:
        """The task as JSON data: its fields, its name, and the package it comes with, if not with limbeck."""
        package = {} if (brought := package_of("tasks", self.name)) is None else {"package": brought}
        return {"name": self.name, **package, **asdict(self)}  # type: ignore[call-overload]

    @property
    def identity(self) -> str:
        """What of the task decides what a network learns, for the fingerprint of the data."""
        return f"{self.name} {self.width}"

    def fitted_to(self, student: Outputs) -> Task:
        """The task beside a student whose outputs for some samples are these; itself, unless rows depend on
        the shapes of its outputs."""
        return self

    # Targets

    @classmethod
    @abstractmethod
    def of(cls, names: Sequence[str] | None, width: int | None, targets: Tensor) -> Task:
        """The task of some training targets.

        Args:
            names: what the targets are called, see `names`; None for numbers.
            width: how many outputs there are, where it is known.
            targets: (N, ...) of the training split.
        Raises:
            LimbeckError: if they do not fit together, or do not tell the width.
        """

    @classmethod
    def of_width(cls, width: int) -> Task:
        """The task of so many outputs, with numbers for names: in a loop that has no data of limbeck's."""
        return cls(tuple(map(str, range(width))))  # type: ignore[call-arg]

    @staticmethod
    def width_of(logits: Tensor) -> int:
        """How many outputs raw logits have; along axis 1 unless a task says otherwise."""
        return logits.shape[1] if logits.ndim > 1 else 1

    @classmethod
    @abstractmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        """A user's targets as the tensor that a `Split` holds; all without a label for None.

        Args:
            targets: a tensor, an array or a sequence; or None.
            size: N, how many samples there are.
            which: "training", "validation" or "test", for messages.
        Raises:
            LimbeckError: naming what is wrong, and where.
        """

    @abstractmethod
    def check(self, targets: Tensor, which: str) -> None:
        """Refuses targets (N, ...) that hold what is no target of this task.

        Raises:
            LimbeckError: naming the value and its position.
        """

    def check_batch(self, targets: Tensor, size: int) -> None:
        """Refuses targets of a batch of `size` samples that have another type or shape than the task's.

        Unless a task says otherwise, these are the type and the shape that `as_targets` gives targets without
        a label.
        """
        right = self.as_targets(None, size, "training")
        if (targets.dtype, targets.shape) != (right.dtype, right.shape):
            raise LimbeckError(
                f"the targets of a batch of {size} must be {_written(right.dtype)} of shape "
                f"{tuple(right.shape)}, not {_written(targets.dtype)} of shape {tuple(targets.shape)}"
            )

    def check_outputs(self, logits: Tensor, role: str) -> None:
        """Refuses the outputs of a network, raw, that are not of the shape that this task has.

        Unless a task says otherwise, this is (B, width).

        Args:
            logits: what a network returned for some samples.
            role: "student" or "teacher", for messages.
        Raises:
            LimbeckError: naming the shape, and the shape that it should have.
        """
        if logits.ndim != 2 or logits.shape[1] != self.width:
            raise LimbeckError(
                f"the outputs of the {role} have the shape {tuple(logits.shape)}, and the task {self.name} "
                f"with {self.summary} takes (B, {self.width})"
            )

    @classmethod
    @abstractmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        """(N,) bool, which samples have a label."""

    @classmethod
    def judgments(cls, targets: Tensor) -> Tensor | None:
        """What the targets of a split say of pairs of samples, see `Batch.judgments`; None if nothing."""
        return None

    @classmethod
    def strata(cls, targets: Tensor) -> Tensor:
        """(N,) int64 stratum of each sample, `UNLABELED` without a label; a draw takes a like share of each.

        All in one stratum, so that a draw is plainly random, unless a task knows better.
        """
        return torch.where(cls.labeled(targets), 0, UNLABELED)

    def counts(self, targets: Tensor) -> tuple[int, ...]:
        """What a run's record says of the targets: how many labels each output has."""
        return (int(self.labeled(targets).sum()),)

    # Rows

    @abstractmethod
    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        """The rows of a batch.

        Args:
            batch: the batch as the loader gave it.
            outputs: those of the student, or of the teacher where a phase does not ask the student; their
                shapes say how many positions there are.
        """

    def count(self, batch: Batch) -> Tensor | int:
        """The valid rows of a batch, told from the batch alone; only asked where rows are not `even`."""
        return len(batch)

    def fields_of(self, points: FeaturePoints) -> tuple[str, ...]:
        """The further outputs that are read of a network which is measured.

        Args:
            points: what was found in it.
        """
        return tuple(field for field in self.fields if field not in self.optional or points.of(field))

    # Measuring

    @abstractmethod
    def meter(self, *, quick: bool = False) -> Meter:
        """A new meter.

        Args:
            quick: only `compute()` is wanted, of the primary metric at least; nothing is kept for `measure`.
        """

    @abstractmethod
    def comparison(self) -> Comparison:
        """A new comparison of a student with its teacher."""

    @abstractmethod
    def measure(self, meter: Meter, validation: Meter | None) -> Findings:
        """All there is to say of a network.

        Args:
            meter: one of this task, which has taken in the split to report on.
            validation: one that has taken in the validation split, by which thresholds or a temperature are
                chosen; None if there is none, or the network may have been trained on it.
        """

    def at_chance(self, metrics: Mapping[str, float], targets: Tensor) -> bool:
        """Whether a network is no better than one answer that is the same for every sample.

        False unless a task can tell.

        Args:
            metrics: of the network, by name.
            targets: (N, ...) of the samples that it was measured on.
        """
        return False

    def remarks(self, found: Mapping[str, Findings], *, validation: bool) -> tuple[str, ...]:
        """Sentences on what could not be chosen by the validation split, and why.

        Args:
            found: findings by role.
            validation: whether there was a validation split to choose by.
        """
        return ()

    def weaknesses(self, found: Findings) -> tuple[str, ...]:
        """What a model card says of a student's weak points: whole sentences of Markdown."""
        return ()

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        """What a report shows of an evaluation, after the table of metrics; nothing by default.

        Args:
            found: findings by role; "student" is always there, "teacher" and "baseline" may be.
            agreement: agreement of student and teacher; None without a teacher.
        """
        return ()

    def compared(self, found: Mapping[str, Sequence[Findings]]) -> Sequence[Section]:
        """What a page shows of networks side by side, each with one or several seeds; nothing by default.

        Args:
            found: findings by the name of the network, those of each seed.
        """
        return ()

    # Recipes

    @abstractmethod
    def recipe(self, *, teacher: bool) -> str:
        """The objective, in the notation, of a run that names none."""


def _written(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def same_size(targets: Tensor, size: int, which: str) -> None:
    """Refuses another number of targets than there are samples."""
    if len(targets) != size:
        raise LimbeckError(f"there are {size} {which} inputs but {len(targets)} targets")


def as_tensor(targets: Any, which: str, what: str) -> Tensor:
    """A user's targets as a tensor of whatever type they have.

    Args:
        targets: a tensor, an array or a sequence.
        which: "training", "validation" or "test".
        what: the targets should be, for the message: "class ids, integers".
    """
    try:
        return torch.as_tensor(targets)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LimbeckError(f"the {which} targets should be {what}: {error}") from None


def columns_of(names: Sequence[str] | None, width: int | None, targets: Tensor, what: str) -> tuple[str, ...]:
    """Names for the columns of targets that have several: those given, or numbers.

    Args:
        names: one for each column; None for numbers.
        width: how many columns there are, where it is known.
        targets: (N, columns) of the training split; (N, 0) if they have none.
        what: a column is, such as "label", for messages.
    Raises:
        LimbeckError: if they differ, or none of them tells the number.
    """
    columns = targets.shape[1] or None
    known = [number for number in (len(names) if names is not None else None, width, columns) if number]
    if not known:
        raise LimbeckError(
            f"no training sample has a {what}, so their number is unknown; give the names of the {what}s"
        )
    if len(set(known)) > 1 or (names is not None and not names):
        parts = {"names": None if names is None else len(names), "outputs": width, "target columns": columns}
        told = ", ".join(f"{number} {part}" for part, number in parts.items() if number is not None)
        raise LimbeckError(f"each {what} has one name, one output and one column of the targets, not {told}")
    return tuple(names) if names is not None else tuple(map(str, range(known[0])))
