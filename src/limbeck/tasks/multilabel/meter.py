"""Measures networks that give labels: one alone, and a student beside its teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks.measuring import Agreement, Comparison, Example, Meter
from limbeck.tasks.multilabel.findings import Decisions, Label, MultilabelFindings
from limbeck.tasks.parts.precision_recall import average_precision, best_threshold, curve
from limbeck.tasks.parts.scores import BOUND, Scores
from limbeck.tasks.parts.worst import Worst

CURVES = 8
"""Labels whose curves are kept, those with the most positives."""


@dataclass(frozen=True)
class Counts:
    """How the (sample, label) pairs were decided, (L,) int64 each."""

    hits: Tensor
    false_alarms: Tensor
    misses: Tensor
    known: Tensor

    @classmethod
    def of(cls, given: Tensor, targets: Tensor) -> Counts:
        """The counts of some samples.

        Args:
            given: (B, L) bool, which labels were given.
            targets: (B, L) of 0, 1 and `UNLABELED`.
        """
        yes, no = targets == 1, targets == 0
        return cls((given & yes).sum(0), (given & no).sum(0), (~given & yes).sum(0), (yes | no).sum(0))

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.hits + other.hits,
            self.false_alarms + other.false_alarms,
            self.misses + other.misses,
            self.known + other.known,
        )

    @property
    def positives(self) -> Tensor:
        """(L,) samples to which each label applies."""
        return self.hits + self.misses

    def f1(self) -> list[float | None]:
        """Of each label; None where it applies to no sample and was given to none."""
        occurs = 2 * self.hits + self.false_alarms + self.misses
        pairs = zip((2 * self.hits).tolist(), occurs.tolist(), strict=True)
        return [twice / total if total else None for twice, total in pairs]

    def decisions(self) -> Decisions:
        """Over all labels, of which at least one applies to a sample."""
        twice, wrong = 2 * int(self.hits.sum()), int((self.false_alarms + self.misses).sum())
        return Decisions(
            macro_f1=mean_of(self.f1()),
            micro_f1=twice / (twice + wrong),
            hamming=wrong / int(self.known.sum()),
        )


class MultilabelMeter(Meter):
    """Measures one network on the (sample, label) pairs that are known.

    Decisions at the threshold 0.5 are counted and the negative log-likelihood is summed over all pairs.
    What needs the order of the scores is of all samples while these fit in the bound, and of a seeded sample
    of them beyond it: average precisions, curves, and decisions by other thresholds.

    Args:
        bound: numbers of scores to keep (see `Scores`).
    """

    def __init__(self, *, bound: int = BOUND) -> None:
        self._scores = Scores(bound)
        self._counts: Counts | None = None
        self._samples = 0
        self._loss = 0.0

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in logits (B, L) and targets (B, L)."""
        self._samples += len(batch)
        if batch.targets is None:
            return
        logits, targets = outputs.logits.float().cpu(), batch.targets.cpu()
        labeled = (targets != UNLABELED).any(1)
        logits, targets = logits[labeled], targets[labeled]
        if not len(targets):
            return
        counts = Counts.of(logits > 0, targets)
        self._counts = counts if self._counts is None else self._counts + counts
        self._loss += float(negative_log_likelihood(logits, targets).sum())
        self._scores.add(logits, targets)

    def compute(self) -> dict[str, float]:
        """`map`, then `macro_f1`, `micro_f1` and `hamming` at the threshold 0.5, and `nll`."""
        decisions = self._counted().decisions()
        precisions = [average_precision(*label) for label in self._labels()]
        return {"map": mean_of(precisions), **decisions.model_dump(), "nll": self._nll()}

    def findings(self, validation: MultilabelMeter | None) -> MultilabelFindings:
        """All there is to say; see `limbeck.tasks.Task.measure`."""
        counts = self._counted()
        logits, targets = self._scores.read()
        if validation is not None and validation._counts is not None:
            thresholds = validation.thresholds()
        else:
            thresholds = [0.5] * len(counts.known)
        given = logits.double().sigmoid() > torch.tensor(thresholds, dtype=torch.float64)
        chosen = Counts.of(given, targets)
        f1, f1_at_half, positives = chosen.f1(), counts.f1(), counts.positives
        drawn = positives.argsort(descending=True, stable=True)[:CURVES].tolist()
        labels = tuple(
            Label(
                known=int(counts.known[place]),
                positives=int(positives[place]),
                ap=average_precision(scores, applies),
                threshold=thresholds[place],
                f1=f1[place],
                f1_at_half=f1_at_half[place],
                curve=curve(scores, applies) if place in drawn else None,
            )
            for place, (scores, applies) in enumerate(self._labels())
        )
        known = targets != UNLABELED
        return MultilabelFindings(
            map=mean_of([label.ap for label in labels]),
            nll=self._nll(),
            at_thresholds=chosen.decisions(),
            at_half=counts.decisions(),
            labels=labels,
            curve=curve(logits[known], targets[known] == 1),
        )

    def thresholds(self) -> list[float]:
        """For each label the threshold that makes the best decisions on these samples."""
        return [best_threshold(logits.double().sigmoid(), applies) for logits, applies in self._labels()]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was measured on a sample of the rows."""
        held = len(self._scores.read()[0])
        if self._scores.complete:
            return ()
        return (
            f"Average precisions and thresholds are measured on a random sample of {held:,} of the "
            f"{self._scores.rows:,} labeled samples.",
        )

    def _counted(self) -> Counts:
        if self._counts is None:
            raise LimbeckError(
                f"no label of the {self._samples} samples is known, and average precision needs labels"
            )
        if not self._counts.positives.any():
            raise LimbeckError(
                f"no label applies to any of the {self._samples} samples, and average precision needs "
                "one that does"
            )
        return self._counts

    def _nll(self) -> float:
        return self._loss / int(self._counted().known.sum())

    def _labels(self) -> Iterator[tuple[Tensor, Tensor]]:
        """For each label, of the kept samples where it is known: (M,) logits, and whether it applies."""
        for logits, targets in zip(*(kept.unbind(1) for kept in self._scores.read()), strict=True):
            known = targets != UNLABELED
            yield logits[known], targets[known] == 1


class MultilabelComparison(Comparison):
    """Measures how a student agrees with its teacher on all (sample, label) pairs, whether known or not.

    Args:
        names: names of the labels.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._worst = Worst()
        self._samples = self._pairs = self._alike = 0
        self._distance = 0.0

    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        """Takes in logits (B, L) of both, and targets (B, L) if there are any."""
        mine, its = student.logits.float().cpu(), teacher.logits.float().cpu()
        ours, theirs = mine > 0, its > 0
        self._alike += int((ours == theirs).sum())
        self._pairs += ours.numel()
        self._distance += float(bernoulli_divergence(mine, its).sum())
        if batch.targets is not None and batch.targets.shape[1]:
            targets = batch.targets.cpu()
            known, applies = targets != UNLABELED, targets == 1
            wrong, better = ((ours != applies) & known).sum(1), ((theirs != applies) & known).sum(1)
            loss = negative_log_likelihood(mine, targets).sum(1) / known.sum(1).clamp(min=1)

            def example(place: int, first: int = self._samples) -> Example:
                said = (self._said(labels[place]) for labels in (applies, ours, theirs))
                target, student, teacher = said
                return Example(index=first + place, target=target, student=student, teacher=teacher)

            self._worst.add(loss, better < wrong, example)
        self._samples += len(batch)

    def compute(self) -> Agreement:
        """The share of equal decisions at the threshold 0.5, the mean divergence, and the worst samples."""
        return Agreement(
            agreement=self._alike / self._pairs,
            distance=self._distance / self._pairs,
            examples=self._worst.examples,
        )

    def _said(self, given: Tensor) -> str:
        return ", ".join(self._names[place] for place in given.nonzero().flatten().tolist()) or "no label"


def mean_of(values: Sequence[float | None]) -> float:
    """The mean of those that are there, at least one."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there)


def negative_log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, L) binary cross-entropy in nats, float64; zero where a target is `UNLABELED`."""
    applies = (targets == 1).double()
    loss = F.binary_cross_entropy_with_logits(logits.double(), applies, reduction="none")
    return loss.where(targets != UNLABELED, 0)


def bernoulli_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher, student) of the Bernoulli distributions with these logits, float64, in the same shape."""
    ours, theirs = student.double(), teacher.double()
    yes = theirs.sigmoid() * (F.logsigmoid(theirs) - F.logsigmoid(ours))
    return yes + (-theirs).sigmoid() * (F.logsigmoid(-theirs) - F.logsigmoid(-ours))
