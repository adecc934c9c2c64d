"""Measures classifiers while their answers come in: one alone, and a student beside its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks.classification.accuracy import Counts, nll
from limbeck.tasks.classification.calibration import Calibration, calibration, ece
from limbeck.tasks.classification.fidelity import FEW_CLASSES, correlation_difference, divergence
from limbeck.tasks.classification.findings import (
    ClassificationAgreement,
    ClassificationFindings,
    Correlation,
)
from limbeck.tasks.measuring import Comparison, Example, Meter
from limbeck.tasks.parts.rates import Rate
from limbeck.tasks.parts.scores import BOUND, Scores

EXAMPLES = 12
"""Samples that only the teacher gets right, and that are named."""


class ClassificationMeter(Meter):
    """Measures one classifier on the labeled samples of a split.

    Accuracy and confusion are counted, and so they are exact. The negative log-likelihood is computed from
    all scores while these fit in the bound, and is a sum over the batches beyond it. What orders the samples
    by confidence is then of a seeded sample of them.

    Args:
        quick: count the right answers only.
        bound: numbers of scores to keep (see `Scores`).
    """

    def __init__(self, *, quick: bool = False, bound: int = BOUND) -> None:
        self._counts = Counts(answers=not quick)
        self._scores = None if quick else Scores(bound)
        self._samples = 0
        self._loss = 0.0

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in logits (B, C) and targets (B,)."""
        self._samples += len(batch)
        if batch.targets is None:
            return
        logits, targets = outputs.logits.float().cpu(), batch.targets.cpu()
        if not (labeled := targets != UNLABELED).all():
            logits, targets = logits[labeled], targets[labeled]
        if not len(targets):
            return
        self._counts.add(logits, targets)
        if self._scores is not None:
            self._scores.add(logits, targets)
            self._loss += float(F.cross_entropy(logits.double(), targets, reduction="sum"))

    def compute(self) -> dict[str, float]:
        """`top1`; `top5` of ten classes or more; unless quick, `macro_f1`, `nll` and `ece`."""
        self._check()
        shares = self._counts.shares()
        if self._scores is None:
            return shares
        macro_f1 = self._counts.confusion().macro_f1
        return {**shares, "macro_f1": macro_f1, "nll": self._nll(), "ece": ece(*self._scores.read())}

    def intervals(self) -> dict[str, Rate]:
        """Of `top1`, and of `top5` where it is measured."""
        self._check()
        found = self._counts.accuracy()
        return {"top1": found.top1} if found.top5 is None else {"top1": found.top1, "top5": found.top5}

    def findings(self, validation: ClassificationMeter | None) -> ClassificationFindings:
        """All there is to say; see `limbeck.tasks.Task.measure`."""
        self._check()
        return ClassificationFindings(
            accuracy=self._counts.accuracy(),
            nll=self._nll(),
            calibration=self._calibration(validation),
            confusion=self._counts.confusion(),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was measured on a sample of the rows."""
        if self._scores is None or not self._counts.rows:
            return ()
        held = len(self._kept()[0])
        if self._scores.complete:
            return ()
        return (
            f"Calibration is measured on a random sample of {held:,} of the {self._counts.rows:,} labeled "
            "samples.",
        )

    def _check(self) -> None:
        if not self._counts.rows:
            raise LimbeckError(f"none of the {self._samples} samples has a label, and accuracy needs labels")

    def _kept(self) -> tuple[Tensor, Tensor]:
        if self._scores is None:
            raise LimbeckError("a quick meter keeps no scores, so it has only the shares of right answers")
        self._check()
        return self._scores.read()

    def _nll(self) -> float:
        kept = self._kept()
        assert self._scores is not None
        return nll(*kept) if self._scores.complete else self._loss / self._counts.rows

    def _calibration(self, validation: ClassificationMeter | None) -> Calibration:
        return calibration(*self._kept(), None if validation is None else validation._kept())


@dataclass(frozen=True)
class _Missed:
    """Samples that only the teacher gets right, with what both say and how sure the student is; each (M,)."""

    places: Tensor
    targets: Tensor
    ours: Tensor
    theirs: Tensor
    confidence: Tensor

    def joined(self, more: _Missed, most: int) -> _Missed:
        """The surest of both, of equally sure ones the first."""
        both = _Missed(*(torch.cat(pair) for pair in zip(self._fields(), more._fields(), strict=True)))
        order = both.confidence.argsort(descending=True, stable=True)[:most]
        return _Missed(*(field[order] for field in both._fields()))

    def _fields(self) -> tuple[Tensor, ...]:
        return self.places, self.targets, self.ours, self.theirs, self.confidence


class ClassificationComparison(Comparison):
    """Measures how a student agrees with its teacher, on labeled samples and on others.

    Agreement is counted. The divergence is computed from all scores while these fit in the bound, and is a
    mean over the batches beyond it. The correlation of classes is then of a seeded sample of them.

    Args:
        names: names of the classes.
        bound: numbers of scores to keep (see `Scores`).
    """

    def __init__(self, names: Sequence[str], *, bound: int = BOUND) -> None:
        self._names = names
        self._scores = Scores(bound)
        self._classes = self._alike = 0
        self._distance = 0.0
        nothing = torch.zeros(0, dtype=torch.int64)
        self._missed = _Missed(nothing, nothing, nothing, nothing, nothing.double())

    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        """Takes in logits (B, C) of both, and targets (B,) if there are any."""
        mine, its = student.logits.float().cpu(), teacher.logits.float().cpu()
        self._classes = mine.shape[1]
        targets = torch.full((len(batch),), UNLABELED) if batch.targets is None else batch.targets.cpu()
        ours, theirs = mine.argmax(1), its.argmax(1)
        self._alike += int((ours == theirs).sum())
        self._distance += len(mine) * divergence(mine, its)
        missed = ((theirs == targets) & (ours != targets)).nonzero().flatten()
        sure = mine[missed].double().softmax(1).amax(1)
        fields = (missed + self._scores.rows, targets[missed], ours[missed], theirs[missed], sure)
        self._missed = self._missed.joined(_Missed(*fields), EXAMPLES)
        self._scores.add(torch.cat([mine, its], 1), targets)

    def compute(self) -> ClassificationAgreement:
        """What was found."""
        mine, its = (part.contiguous() for part in torch.split(self._scores.read()[0], self._classes, 1))
        rows = self._scores.rows
        difference = correlation_difference(mine, its)
        return ClassificationAgreement(
            agreement=self._alike / rows,
            distance=divergence(mine, its) if self._scores.complete else self._distance / rows,
            examples=self._examples(),
            correlation=Correlation(
                difference=float(difference.abs().mean()),
                matrix=tuple(map(tuple, difference.tolist())) if len(difference) <= FEW_CLASSES else None,
            ),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was measured on a sample of the rows."""
        held = len(self._scores.read()[0])
        if self._scores.complete:
            return ()
        return (
            f"The correlation of classes is measured on a random sample of {held:,} of the "
            f"{self._scores.rows:,} samples.",
        )

    def _examples(self) -> tuple[Example, ...]:
        found = self._missed
        each = zip(
            *(field.tolist() for field in (found.places, found.targets, found.ours, found.theirs)),
            strict=True,
        )
        return tuple(
            Example(
                index=place,
                target=name_of(target, self._names),
                student=name_of(student, self._names),
                teacher=name_of(teacher, self._names),
            )
            for place, target, student, teacher in each
        )


def name_of(answer: int, names: Sequence[str]) -> str:
    """The name of a class; a number where a network has more outputs than there are names."""
    return names[answer] if answer < len(names) else str(answer)
