"""Classification: one class for each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks.base import Task
from limbeck.tasks.classification.calibration import COLDEST, HOTTEST
from limbeck.tasks.classification.compared import compared
from limbeck.tasks.classification.findings import ClassificationAgreement, ClassificationFindings
from limbeck.tasks.classification.meter import ClassificationComparison, ClassificationMeter
from limbeck.tasks.classification.sections import sections
from limbeck.tasks.classification.weaknesses import weaknesses
from limbeck.tasks.measuring import Agreement, Findings, Meter, Metric
from limbeck.tasks.parts.chance import most_by_chance
from limbeck.tasks.rows import Rows
from limbeck.tasks.sections import Section
from limbeck.tasks.targets import as_tensor, same_size


@dataclass(frozen=True)
class Classification(Task):
    """Targets are (N,) int64 class ids, `UNLABELED` where a sample has none; one row is one sample.

    Args:
        names: names of the classes, at least 2; none for data without labels whose classes are not known.
    """

    name = "classification"
    hub_tag: ClassVar[str | None] = None  # it depends on what the inputs are
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("top1", "top-1", 100, "%", hub="accuracy"),
        Metric("top5", "top-5", 100, "%", hub="top5_accuracy"),
        Metric("macro_f1", "macro F1", 100, "%", hub="f1"),
        Metric("nll", "NLL", higher=False),
        Metric("ece", "ECE", 100, "%", higher=False),
    )
    findings = ClassificationFindings
    agreement = ClassificationAgreement

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.names) == 1:
            raise LimbeckError("there should be at least 2 classes, not 1")

    @classmethod
    def of(cls, names: Sequence[str] | None, width: int | None, targets: Tensor) -> Classification:
        """The task with the names given, or with numbers for as many classes as there are.

        Raises:
            LimbeckError: if names and number differ, and if neither is given and no target shows a class.
        """
        if names is not None:
            if width not in (None, len(names)):
                raise LimbeckError(f"there are {len(names)} class names for {width} classes")
            return cls(tuple(names))
        if width is None:
            if not (targets != UNLABELED).any():
                raise LimbeckError(
                    "no training sample has a label, so the number of classes is unknown; give num_classes"
                )
            there = set(targets[targets != UNLABELED].clamp(min=0).tolist())
            width = max(there) + 1
            if len(there) < width:
                absent = sorted(set(range(min(width, len(there) + 5))) - there)[:5]
                listed = ", ".join(map(str, absent)) + (", ..." if width - len(there) > 5 else "")
                raise LimbeckError(
                    f"the training targets hold {len(there)} different class ids, up to {width - 1}, and no"
                    f" sample of class {listed};"
                    f" number classes from 0 without gaps, write {UNLABELED} for no label, or give"
                    f" num_classes={width} if there are so many"
                )
        return cls(tuple(map(str, range(width))))

    @classmethod
    def of_width(cls, width: int) -> Classification:
        """The task of so many classes, with numbers for names."""
        if width < 2:
            raise LimbeckError(
                "the student has one output, and a choice among classes needs 2 or more; a network with one "
                "logit for yes or no is for the task multilabel"
            )
        return cls(tuple(map(str, range(width))))

    @property
    def summary(self) -> str:
        """For example "10 classes"."""
        return f"{self.width} classes"

    @property
    def identity(self) -> str:
        """The number of classes, as fingerprints had it before there were other tasks."""
        return str(self.width)

    @classmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        """(N,) int64 class ids."""
        if targets is None:
            return torch.full((size,), UNLABELED)
        ids = as_tensor(targets, which, "class ids, integers")
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise LimbeckError(
                f"the {which} targets should be class ids, integers, not {ids.dtype};"
                ' task="regression" takes decimals'
            )
        if ids.ndim != 1:
            raise LimbeckError(
                f"the {which} targets should be one class id a sample, (N,), not {tuple(ids.shape)};"
                ' task="multilabel" takes several labels a sample'
            )
        same_size(ids, size, which)
        return ids.long()

    def check(self, targets: Tensor, which: str) -> None:
        """Refuses a target that is neither a class id nor `UNLABELED`."""
        wrong = ((targets < 0) | (targets >= self.width)) & (targets != UNLABELED)
        if wrong.any():
            position = int(wrong.nonzero()[0])
            raise LimbeckError(
                f"the {which} target {int(targets[position])} at position {position} is out of range:"
                f" with {self.width} classes it should be 0 to {self.width - 1}, or {UNLABELED} for no label"
            )

    def check_batch(self, targets: Tensor, size: int) -> None:
        """Refuses anything but (B,) int64."""
        if (targets.dtype, targets.shape) != (torch.int64, (size,)):
            raise LimbeckError(
                f"the targets of a batch of {size} must be int64 of shape ({size},), "
                f"not {str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}"
                f"{_remedy(targets)}"
            )

    def check_outputs(self, logits: Tensor, role: str) -> None:
        """Refuses anything but (B, C) with C of at least 2."""
        if logits.ndim != 2:
            raise LimbeckError(
                f"the logits of the {role} have the shape {tuple(logits.shape)}, and classification takes one"
                " row of scores a sample, (B, C); name the output that holds them, or the task that the data"
                " is for, task=..."
            )
        if logits.shape[1] < 2:
            raise LimbeckError(
                f"the {role} has one output, and a choice among classes needs 2 or more; a network with one "
                "logit for yes or no is for the task multilabel"
            )

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        """Which samples have a class."""
        return targets != UNLABELED

    @classmethod
    def strata(cls, targets: Tensor) -> Tensor:
        """The classes."""
        return targets

    def counts(self, targets: Tensor) -> tuple[int, ...]:
        """Labeled samples of each class."""
        return tuple(targets[targets != UNLABELED].bincount(minlength=self.width).tolist())

    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        """The samples themselves."""
        return Rows(len(batch), batch.targets)

    def meter(self, *, quick: bool = False) -> ClassificationMeter:
        """Counts right answers; unless quick, keeps scores for the NLL and the calibration."""
        return ClassificationMeter(quick=quick)

    def comparison(self) -> ClassificationComparison:
        """Agreement, divergence, and the correlation of the classes."""
        return ClassificationComparison(self.names)

    def measure(self, meter: Meter, validation: Meter | None) -> ClassificationFindings:
        """Accuracy, NLL, confusion and calibration, with the temperature that suits the validation split."""
        assert isinstance(meter, ClassificationMeter)
        assert validation is None or isinstance(validation, ClassificationMeter)
        return meter.findings(validation)

    def at_chance(self, metrics: Mapping[str, float], targets: Tensor) -> bool:
        """Whether the accuracy is within 3 standard errors of the share of the largest class, or below."""
        counts = targets[self.labeled(targets)].bincount()
        size = int(counts.sum())
        chance = int(counts.max()) / size
        error: float = (chance * (1 - chance) / size) ** 0.5
        return chance < 1 and metrics["top1"] <= most_by_chance(chance, error)

    def remarks(self, found: Mapping[str, Findings], *, validation: bool) -> tuple[str, ...]:
        """Where no temperature is fitted."""
        if not validation:
            return ("No temperature is fitted: the data has no validation split to fit it on.",)
        unfitted = [
            role
            for role, each in found.items()
            if isinstance(each, ClassificationFindings) and each.calibration.temperature is None
        ]
        if not unfitted:
            return ()
        return (
            f"No temperature is given for {' and '.join(unfitted)}: on the validation split, none from "
            f"{COLDEST:g} to {HOTTEST:g} is best.",
        )

    def weaknesses(self, found: Findings) -> tuple[str, ...]:
        """The worst class, what is confused most often, and how far the confidence is off."""
        assert isinstance(found, ClassificationFindings)
        return tuple(weaknesses(self.names, found))

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        """What is taken for what, accuracy and F1 by class, calibration, and which classes are alike."""
        return sections(self.names, found, agreement)

    def compared(self, found: Mapping[str, Sequence[Findings]]) -> Sequence[Section]:
        """Accuracy by class and calibration, means over the seeds."""
        return compared(self.names, found)

    def recipe(self, *, teacher: bool) -> str:
        """KD as in the CRD benchmark; cross-entropy without a teacher."""
        return "0.1*ce + 0.9*kd(temperature=4)" if teacher else "ce"


def _remedy(targets: Tensor) -> str:
    """What makes class ids of targets that are none, for the end of a message."""
    if targets.ndim == 2 and targets.shape[1] == 1:
        return "; use targets.squeeze(1)"
    if targets.ndim == 2:
        return '; use targets.argmax(1) where one class is right, task="multilabel" where several may be'
    if targets.is_floating_point():
        return '; use targets.long() if they are class ids, task="regression" if they are values'
    return "" if targets.dtype == torch.int64 else "; use targets.long()"
