"""What contenders are compared by: a metric of their task on a split, or their agreement with the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from limbeck.errors import LimbeckError, unknown
from limbeck.runs.result import Result
from limbeck.tasks import Metric, Task

Split: TypeAlias = Literal["test", "validation"]

AGREEMENT = Metric("agreement", "agreement with the teacher", 100, "%")
"""Share of the test rows on which student and teacher decide alike; every task with decisions has it."""


@dataclass(frozen=True)
class Measure:
    """A metric on a split."""

    metric: Metric
    split: Split = "test"

    @property
    def name(self) -> str:
        """As it is asked for: "test.NAME"."""
        return f"{self.split}.{self.metric.name}"

    @property
    def label(self) -> str:
        """With its split, for people: "test top-1"."""
        return f"{self.split} {self.metric.label}"

    @property
    def axis(self) -> str:
        """With its split and its unit, for an axis or the heading of a column: "test top-1 (%)"."""
        return f"{self.label} ({self.metric.unit})" if self.metric.unit else self.label

    def of(self, result: Result) -> float | None:
        """The value of a run in the unit that it is shown in; None if it was not measured."""
        if self.metric == AGREEMENT:
            value = result.agreement
        else:
            value = (result.metrics.by_split().get(self.split) or {}).get(self.metric.name)
        return None if value is None else self.metric.scale * value


def measures(names: Sequence[str], task: Task) -> list[Measure]:
    """The measures of some names, or the task's first metric on the test split for none.

    Args:
        names: of the task's metrics, or "agreement"; "validation.NAME" is on the validation split, NAME and
            "test.NAME" on the test split.
        task: task of the runs to compare.
    Raises:
        LimbeckError: for an unknown metric or split.
    """
    return [_measure(name, task) for name in names] or [Measure(task.primary)]


def _measure(text: str, task: Task) -> Measure:
    split, dot, name = text.rpartition(".")
    known = {metric.name: metric for metric in task.metrics}
    if dot and split not in get_args(Split):
        raise unknown("split", split, get_args(Split))
    if name == AGREEMENT.name:
        if split == "validation":
            raise LimbeckError("the agreement with the teacher is measured on the test split alone")
        return Measure(AGREEMENT)
    if name not in known:
        raise unknown("metric", name, [*known, AGREEMENT.name])
    return Measure(known[name], split or "test")  # type: ignore[arg-type]
