"""What a quantized file is worth beside the file in float32 that it was made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor, nn

from limbeck.data import Loader, Source, Split
from limbeck.data.preparation import Preparation
from limbeck.data.storage.base import spread
from limbeck.errors import LimbeckError
from limbeck.evaluation.measure import answer_of
from limbeck.outputs import Inputs
from limbeck.runs.exports.check import MOST
from limbeck.runs.exports.quantization import Figures, SplitName
from limbeck.tasks import Metric, Task
from limbeck.tasks.wording import told, unit_of_difference

BATCH = 32
"""Samples at once; dynamic quantization answers by the range that a batch has, so the size counts."""

MaxDrop: TypeAlias = "float | Literal['auto'] | None"
"""The largest loss that is allowed, as the metric is shown; None for any, "auto" for what `allowed` says."""


class FromFile(nn.Module):
    """A file's answers as a network."""

    def __init__(self, answer: Callable[[Inputs], Tensor]) -> None:
        super().__init__()
        self._answer = answer

    def forward(self, *inputs: Tensor, **named: Tensor) -> Tensor:
        """The outputs for one tensor, or for named ones."""
        return self._answer(named or inputs[0])


def measured(
    source: Source, before: nn.Module, after: nn.Module, preparation: Preparation
) -> dict[SplitName, Figures]:
    """Measures both files on the validation and the test split, where there are some.

    The training split stands in where there is no validation split, because nothing may be decided on the
    test split.

    Args:
        source: the data.
        before: the file in float32; its outputs are in the order of the data's, as the next one's.
        after: the quantized file.
        preparation: what both read of a sample.
    """
    splits: dict[SplitName, Split | None] = {"validation": source.validation, "test": source.test}
    if source.validation is None:
        splits["training"] = source.train.labeled() if source.train.has_labels else source.train
    return {
        name: _on(split.select(spread(len(split), MOST)), source.task, before, after, preparation)
        for name, split in splits.items()
        if split is not None
    }


def _on(split: Split, task: Task, before: nn.Module, after: nn.Module, preparation: Preparation) -> Figures:
    answers = answer_of(task, before), answer_of(task, after)
    meters, comparison = (task.meter(), task.meter()), task.comparison()
    for batch in Loader(split, BATCH, shuffle=False, preparation=preparation):
        exact, rounded = (answer(batch.inputs) for answer in answers)
        comparison.update(rounded, exact, batch)
        if split.has_labels:
            for meter, outputs in zip(meters, (exact, rounded), strict=True):
                meter.update(outputs, batch)
    found = comparison.compute()
    metrics = (meter.compute() if split.has_labels else {} for meter in meters)
    return Figures(
        samples=len(split),
        before=next(metrics),
        after=next(metrics),
        agreement=found.agreement,
        distance=found.distance,
    )


@dataclass(frozen=True)
class Drop:
    """What quantization loses in the task's first metric, as it is shown.

    Attributes:
        metric: the metric.
        split: the split it is of.
        before: value of the file in float32.
        after: value of the quantized file.
        limit: largest loss that is allowed.
    """

    metric: Metric
    split: SplitName
    before: float
    after: float
    limit: float

    @property
    def loss(self) -> float:
        """Points of a percentage, and others in their unit; below 0 for a gain."""
        change = self.metric.scale * (self.before - self.after)
        return round(change if self.metric.higher else -change, 9)  # 0.98 less 0.97 is no more than a point

    @property
    def too_large(self) -> bool:
        """Whether it is more than is allowed; NaN is."""
        return not self.loss <= self.limit

    def summary(self, name: str) -> str:
        """One sentence without its full stop.

        Args:
            name: name of the data.
        """
        before, after = (told(self.metric, value, percent=2) for value in (self.before, self.after))
        unit = unit_of_difference(self.metric)
        limit = f"{self.limit:.3g} {'point' if unit == 'points' and self.limit == 1 else unit}".rstrip()
        return (
            f"{self.metric.label} on the {self.split} split of {name} is {before} before and {after} after "
            f"quantization; max_drop (--max-drop) lets it get worse by {limit} at most"
        )


def drop(task: Task, found: Mapping[SplitName, Figures], name: str, max_drop: MaxDrop) -> Drop | None:
    """The loss that decides whether a quantized file is kept; None where any loss is allowed.

    Args:
        task: what the network is for.
        found: what `measured` gives.
        name: name of the data.
        max_drop: see `MaxDrop`.
    Raises:
        LimbeckError: if the loss cannot be measured.
    """
    if max_drop is None:
        return None
    split: SplitName = "training" if "training" in found else "validation"
    metric, its = task.primary, found[split]
    if metric.name not in its.before or metric.name not in its.after:
        raise LimbeckError(
            f"no loss of {metric.label} can be measured on the validation or training split of {name}, which "
            "lack labels for it; name labeled data with data (--data), or keep the file whatever it loses "
            "with max_drop=None (--max-drop none)"
        )
    before, after = its.before[metric.name], its.after[metric.name]
    limit = allowed(metric, before) if max_drop == "auto" else max_drop
    return Drop(metric, split, before, after, limit)


def allowed(metric: Metric, before: float) -> float:
    """The loss that is allowed unless it is said: 1 point of a percentage, 1 % of the value of others."""
    return 1.0 if metric.unit == "%" else abs(metric.scale * before) / 100
