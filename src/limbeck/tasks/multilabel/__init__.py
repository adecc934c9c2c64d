"""Multi-label classification: any number of labels for each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks.base import Task
from limbeck.tasks.measuring import Agreement, Findings, Meter, Metric
from limbeck.tasks.multilabel.findings import MultilabelFindings
from limbeck.tasks.multilabel.meter import MultilabelComparison, MultilabelMeter
from limbeck.tasks.multilabel.sections import sections, weaknesses
from limbeck.tasks.parts.chance import most_by_chance
from limbeck.tasks.rows import Rows, yes_or_no
from limbeck.tasks.sections import Section
from limbeck.tasks.targets import as_tensor, columns_of, same_size


@dataclass(frozen=True)
class Multilabel(Task):
    """Targets are (N, L) int64: 1 where a label applies, 0 where not, `UNLABELED` where nobody knows.

    A network gives (B, L) logits z. One row is one (sample, label) pair with the two logits (0, z), so that
    the softmax of a row is (1 - sigmoid(z), sigmoid(z)): cross-entropy over rows is the binary one, and `kd`
    is the divergence of Bernoulli distributions. Targets (N, 0) say that no label of any sample is known.

    Args:
        names: one for each label, at least 1.
    """

    name = "multilabel"
    columns_hold: ClassVar[Literal["classes", "labels", "values", "tags"]] = "labels"
    one_row_per_sample: ClassVar[bool] = False
    distance: ClassVar[str] = "mean KL(teacher, student) of a label's Bernoulli distribution in nats"
    findings = MultilabelFindings
    metrics = (
        Metric("map", "mAP", 100, "%", hub="mean_average_precision"),
        Metric("macro_f1", "macro F1", 100, "%", hub="f1"),
        Metric("micro_f1", "micro F1", 100, "%"),
        Metric("hamming", "Hamming loss", 100, "%", higher=False),
        Metric("nll", "NLL", higher=False),
    )

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise LimbeckError("there should be at least 1 label")

    @classmethod
    def of(cls, names: Sequence[str] | None, width: int | None, targets: Tensor) -> Multilabel:
        """The task with the names given, or with numbers for as many labels as the targets have columns.

        Raises:
            LimbeckError: if names, width and columns differ, or none of them is known.
        """
        return cls(columns_of(names, width, targets, "label"))

    @property
    def columns(self) -> int:
        """Two: that the label does not apply, and that it does."""
        return 2

    @property
    def summary(self) -> str:
        """For example "14 labels"."""
        return f"{self.width} label{'s' if self.width > 1 else ''}"

    @classmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        """(N, L) int64; (N, 0) for None."""
        if targets is None:
            return torch.empty(size, 0, dtype=torch.int64)
        given = as_tensor(targets, which, "0 or 1 for each label, (N, L)")
        if given.ndim != 2 or given.is_complex():
            raise LimbeckError(
                f"the {which} targets should be 0 or 1 for each label, (N, L), not {given.dtype} of shape "
                f"{tuple(given.shape)}; class ids are for the task classification, and one label is (N, 1)"
            )
        same_size(given, size, which)
        whole = given.long()
        wrong = whole != given  # NaN too
        if wrong.any():
            sample, label = wrong.nonzero()[0].tolist()
            raise LimbeckError(
                f"the {which} target {given[sample, label].item():g} of sample {sample}, label {label}, "
                f"should be 0 or 1, or {UNLABELED} where nobody knows"
            )
        return whole

    def check(self, targets: Tensor, which: str) -> None:
        """Refuses another number of labels, and values other than 0, 1 and `UNLABELED`."""
        if targets.shape[1] not in (0, self.width):
            raise LimbeckError(f"the {which} targets have {targets.shape[1]} labels, not {self.width}")
        wrong = (targets != 0) & (targets != 1) & (targets != UNLABELED)
        if wrong.any():
            sample, label = wrong.nonzero()[0].tolist()
            raise LimbeckError(
                f"the {which} target {int(targets[sample, label])} of sample {sample}, label "
                f"{self.names[label]!r}, should be 0 or 1, or {UNLABELED} where nobody knows"
            )

    def check_batch(self, targets: Tensor, size: int) -> None:
        """Refuses anything but (B, L) int64, or (B, 0)."""
        if targets.dtype != torch.int64 or targets.shape not in ((size, self.width), (size, 0)):
            raise LimbeckError(
                f"the targets of a batch of {size} must be int64 of shape ({size}, {self.width}), "
                f"not {str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}"
            )

    def check_outputs(self, logits: Tensor, role: str) -> None:
        """Refuses anything but (B, L)."""
        if logits.ndim != 2 or logits.shape[1] != self.width:
            raise LimbeckError(
                f"the logits of the {role} have the shape {tuple(logits.shape)}, and multilabel takes one "
                f"logit for each label, (B, {self.width})"
            )

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        """Which samples have a label that is known."""
        return (targets != UNLABELED).any(1)

    @classmethod
    def strata(cls, targets: Tensor) -> Tensor:
        """The rarest label that applies to a sample; samples to which none applies are one more stratum."""
        if not targets.shape[1]:
            return torch.full((len(targets),), UNLABELED, device=targets.device)
        applies = targets == 1
        rarest_first = applies.sum(0).argsort(stable=True)
        rarest = rarest_first[applies[:, rarest_first].int().argmax(1)]
        strata = rarest.where(applies.any(1), targets.shape[1])
        return strata.where(cls.labeled(targets), UNLABELED)

    def counts(self, targets: Tensor) -> tuple[int, ...]:
        """Samples to which each label applies."""
        return tuple((targets == 1).sum(0).tolist()) or (0,) * self.width

    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        """The (sample, label) pairs, those of a sample one after the other."""
        targets = batch.targets
        if targets is not None and not targets.shape[1]:
            targets = targets.new_full((len(batch), self.width), UNLABELED)
        return yes_or_no(batch, self.width, targets)

    def meter(self, *, quick: bool = False) -> MultilabelMeter:
        """Counts decisions and keeps scores, quick or not: the first metric needs them."""
        return MultilabelMeter()

    def comparison(self) -> MultilabelComparison:
        """Agreement and divergence over all (sample, label) pairs."""
        return MultilabelComparison(self.names)

    def measure(self, meter: Meter, validation: Meter | None) -> MultilabelFindings:
        """By label and over all, with the thresholds that suit the validation split."""
        assert isinstance(meter, MultilabelMeter)
        assert validation is None or isinstance(validation, MultilabelMeter)
        return meter.findings(validation)

    def at_chance(self, metrics: Mapping[str, float], targets: Tensor) -> bool:
        """Whether the mAP is within 3 standard errors of the mean share of the labels, or below.

        That share is what a ranking at random comes to.
        """
        known, applies = (targets != UNLABELED).sum(0), (targets == 1).sum(0)
        there = applies > 0  # a label that never applies has no average precision
        share = applies[there].double() / known[there]
        error = (share * (1 - share) / known[there]).sqrt()
        return metrics["map"] <= most_by_chance(float(share.mean()), float(error.mean()))

    def remarks(self, found: Mapping[str, Findings], *, validation: bool) -> tuple[str, ...]:
        """Where no threshold is chosen."""
        if validation:
            return ()
        return ("All thresholds are 0.5: the data has no validation split to choose others on.",)

    def weaknesses(self, found: Findings) -> tuple[str, ...]:
        """The worst label, and labels of which nothing is known."""
        assert isinstance(found, MultilabelFindings)
        return tuple(weaknesses(self.names, found))

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        """Precision-recall curves, decisions, figures by label, and the agreement with the teacher."""
        return sections(self.names, found, agreement)

    def recipe(self, *, teacher: bool) -> str:
        """Labels and teacher in equal parts; without a teacher the binary cross-entropy."""
        return "0.5*ce + 0.5*kd(temperature=2)" if teacher else "ce"
