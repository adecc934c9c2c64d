"""What is found out about a classifier, and about a student beside its teacher: the records."""

from __future__ import annotations

from statistics import fmean
from typing import NamedTuple

from limbeck.tasks.classification.calibration import Calibration
from limbeck.tasks.measuring import Agreement, Findings
from limbeck.tasks.parts.rates import Rate


class Accuracy(Findings):
    """How often the network is right.

    Attributes:
        top1: over all labeled samples.
        top5: None where there are too few classes for it to say anything (`TOP5_FROM`).
        per_class: top-1 of the samples of each class; None where the split has no sample of it.
    """

    top1: Rate
    top5: Rate | None
    per_class: tuple[Rate | None, ...]


class Pair(Findings):
    """How many `samples` of class `target` were taken for class `predicted`."""

    target: int
    predicted: int
    samples: int


class ClassCounts(NamedTuple):
    """How a network fares with one class.

    Attributes:
        samples: those of the class.
        answers: samples that the network takes for the class.
        right: how many are both.
    """

    samples: int
    answers: int
    right: int

    @property
    def precision(self) -> float | None:
        """Share of the answers that are right; None without one."""
        return self.right / self.answers if self.answers else None

    @property
    def recall(self) -> float | None:
        """Share of the samples that are found; None without one."""
        return self.right / self.samples if self.samples else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; None with neither a sample nor an answer."""
        occurs = self.samples + self.answers
        return 2 * self.right / occurs if occurs else None


class Confusion(Findings):
    """What is taken for what.

    Attributes:
        classes: C, the network's.
        cells: (target, answer, samples) of all that happened, by target and then by answer.
        pairs: the most confused, most samples first; none that never happened.
    """

    classes: int
    cells: tuple[tuple[int, int, int], ...]
    pairs: tuple[Pair, ...]

    @property
    def matrix(self) -> tuple[tuple[int, ...], ...]:
        """(C, C) numbers of samples, a row for each target, a column for each answer."""
        rows = [[0] * self.classes for _ in range(self.classes)]
        for target, answer, samples in self.cells:
            rows[target][answer] = samples
        return tuple(map(tuple, rows))

    @property
    def by_class(self) -> tuple[ClassCounts, ...]:
        """The counts of each class, in the order of the logits."""
        samples, answers, right = ([0] * self.classes for _ in range(3))
        for target, answer, count in self.cells:
            samples[target] += count
            answers[answer] += count
            right[target] += count if target == answer else 0
        return tuple(map(ClassCounts, samples, answers, right))

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that have a sample or were given as an answer."""
        return fmean(f1 for each in self.by_class if (f1 := each.f1) is not None)


class ClassificationFindings(Findings):
    """What is found out about a classifier.

    Attributes:
        accuracy: see `Accuracy`.
        nll: mean negative log-likelihood, in nats.
        calibration: see `Calibration`.
        confusion: see `Confusion`.
    """

    accuracy: Accuracy
    nll: float
    calibration: Calibration
    confusion: Confusion


class Correlation(Findings):
    """How the class-correlation matrices of student and teacher differ.

    Attributes:
        difference: mean absolute difference.
        matrix: (C, C) student less teacher, in [-2, 2]; None for more than `FEW_CLASSES` classes.
    """

    difference: float
    matrix: tuple[tuple[float, ...], ...] | None


class ClassificationAgreement(Agreement):
    """How close a student's answers are to its teacher's.

    Attributes:
        correlation: see `Correlation`.
    """

    correlation: Correlation
