"""What measures networks: metrics, meters, and what they find out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from limbeck.outputs import Batch, Outputs

if TYPE_CHECKING:
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
