"""Task: what the targets are, what one decision is, and what "good" means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.plugins import package_of
from limbeck.tasks.measuring import Agreement, Comparison, Findings, Meter, Metric
from limbeck.tasks.rows import Rows
from limbeck.tasks.sections import Section

if TYPE_CHECKING:
    from limbeck.features import FeaturePoints


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
        ranked: whether targets are queries, documents and grades (P, 3), which methods that rank learn from.
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
    ranked: ClassVar[bool] = False
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
