"""Ordinal regression for limbeck: classes that have an order, such as grades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from limbeck import Batch, LimbeckError, Outputs
from limbeck.losses import kd
from limbeck.outputs import UNLABELED
from limbeck.tasks import Agreement, Comparison, Example, Findings, Meter, Metric, Rows, Task
from limbeck.tasks.parts.worst import Worst
from limbeck.tasks.rows import yes_or_no
from limbeck.tasks.sections import Heatmap, Section
from limbeck.tasks.targets import as_tensor, same_size


class OrdinalFindings(Findings):
    """How many samples of each grade (row) got which answer (column)."""

    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Ordinal(Task):
    """Targets are (N,) int64 grades 0 to K-1, `UNLABELED` where there is none.

    A network gives (B, K-1) logits; number k says how likely the grade is above k. One row is one
    (sample, threshold) pair.

    Args:
        names: the grades from the lowest to the highest, at least 2.
    """

    name = "ordinal"
    one_row_per_sample = False
    distance = "mean KL(teacher, student) of a threshold's Bernoulli distribution in nats"
    findings = OrdinalFindings
    metrics = (
        Metric("mae", "mean rank error", higher=False),
        Metric("accuracy", "accuracy", 100, "%"),
        Metric("kappa", "weighted kappa"),
    )

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise LimbeckError(f"there should be at least 2 grades, not {len(self.names)}")

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(f"above {name}" for name in self.names[:-1])

    @property
    def columns(self) -> int:
        return 2

    @property
    def summary(self) -> str:
        return f"{len(self.names)} grades"

    @classmethod
    def of(cls, names: Sequence[str] | None, width: int | None, targets: Tensor) -> Ordinal:
        if names:
            return cls(tuple(names))
        if width is None and not cls.labeled(targets).any():
            raise LimbeckError("no training sample has a grade; give the names of the grades")
        return cls.of_width(int(targets.max()) if width is None else width)

    @classmethod
    def of_width(cls, width: int) -> Ordinal:
        return cls(tuple(map(str, range(width + 1))))

    @classmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        if targets is None:
            return torch.full((size,), UNLABELED)
        grades = as_tensor(targets, which, "grades, integers from 0")
        if grades.ndim != 1 or grades.is_floating_point():
            raise LimbeckError(f"the {which} targets should be grades, integers (N,)")
        same_size(grades, size, which)
        return grades.long()

    def check(self, targets: Tensor, which: str) -> None:
        wrong = ((targets < 0) | (targets > self.width)) & self.labeled(targets)
        if wrong.any():
            place = int(wrong.nonzero()[0])
            raise LimbeckError(
                f"the {which} target {targets[place]} at position {place} should be 0 to {self.width}"
            )

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        return targets != UNLABELED

    @classmethod
    def strata(cls, targets: Tensor) -> Tensor:
        return targets

    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        if batch.targets is None:
            return yes_or_no(batch, self.width, None)
        targets = batch.targets[:, None]
        above = (targets > torch.arange(self.width, device=targets.device)).long()
        return yes_or_no(batch, self.width, above.where(self.labeled(targets), UNLABELED))

    def meter(self, *, quick: bool = False) -> OrdinalMeter:
        return OrdinalMeter(len(self.names))

    def comparison(self) -> OrdinalComparison:
        return OrdinalComparison(self)

    def measure(self, meter: Meter, validation: Meter | None) -> OrdinalFindings:
        assert isinstance(meter, OrdinalMeter)
        return OrdinalFindings(counts=tuple(map(tuple, meter.counts.tolist())))

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        figures = [
            Heatmap(f"Answers of the {role}", "answer", "grade", self.names, its.counts)
            for role, its in found.items()
            if isinstance(its, OrdinalFindings)
        ]
        return [Section("Grades", figures=figures)]

    def recipe(self, *, teacher: bool) -> str:
        return "0.5*ce + 0.5*kd(temperature=2)" if teacher else "ce"


def ranks(logits: Tensor) -> Tensor:
    """(B,) grades that logits (B, K-1) stand for."""
    return (logits > 0).sum(1)


class OrdinalMeter(Meter):
    """Counts (grade, answer) pairs; all metrics follow from the counts."""

    def __init__(self, grades: int) -> None:
        self.counts = torch.zeros(grades, grades, dtype=torch.int64)

    def update(self, outputs: Outputs, batch: Batch) -> None:
        if batch.targets is None:
            return
        targets, answers = batch.targets.cpu(), ranks(outputs.logits).cpu()
        known = targets != UNLABELED
        self.counts.index_put_((targets[known], answers[known]), torch.tensor(1), accumulate=True)

    def compute(self) -> dict[str, float]:
        counts, total = self.counts.double(), int(self.counts.sum())
        if not total:
            raise LimbeckError("no sample has a grade, and errors need grades")
        places = torch.arange(len(counts), dtype=torch.float64)
        apart = (places[:, None] - places).abs()
        chance = counts.sum(1)[:, None] * counts.sum(0) / total
        found = {
            "mae": float((counts * apart).sum() / total),
            "accuracy": float(counts.diagonal().sum() / total),
        }
        if expected := float((chance * apart.square()).sum()):
            found["kappa"] = 1 - float((counts * apart.square()).sum()) / expected
        return found


class OrdinalComparison(Comparison):
    """Compares the grades that student and teacher give, and their probabilities."""

    def __init__(self, task: Ordinal) -> None:
        self._task, self._worst = task, Worst()
        self._samples = self._same = 0
        self._divergence = 0.0

    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        mine, its = ranks(student.logits).cpu(), ranks(teacher.logits).cpu()
        rows = self._task.rows(batch, student)
        divergence = kd(rows.logits(student.logits), rows.logits(teacher.logits), temperature=1)
        self._divergence += float(divergence) * len(batch)
        self._same += int((mine == its).sum())
        if batch.targets is not None:
            self._name(mine, its, batch.targets.cpu())
        self._samples += len(batch)

    def _name(self, mine: Tensor, its: Tensor, targets: Tensor) -> None:
        def example(place: int, first: int = self._samples) -> Example:
            said = (self._task.names[grades[place]] for grades in (targets, mine, its))
            target, student, teacher = said
            return Example(index=first + place, target=target, student=student, teacher=teacher)

        known = targets != UNLABELED
        self._worst.add((mine - targets).abs(), known & (its == targets) & (mine != targets), example)

    def compute(self) -> Agreement:
        return Agreement(
            agreement=self._same / self._samples,
            distance=self._divergence / self._samples,
            examples=self._worst.examples,
        )
