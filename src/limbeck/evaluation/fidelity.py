"""How close a student's answers are to its teacher's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.evaluation.predict import Predictions
from limbeck.evaluation.results import CKA, Correlation, Fidelity, Mistake

FEW_CLASSES = 20
"""A matrix with a row for each of more classes cannot be read."""


def fidelity(student: Predictions, teacher: Predictions, cka: CKA) -> Fidelity:
    """All figures of it, from the answers for the same samples and what was found of the representations."""
    difference = correlation_difference(student.logits, teacher.logits)
    few = len(difference) <= FEW_CLASSES
    return Fidelity(
        agreement=agreement(student, teacher),
        kl=divergence(student.logits, teacher.logits),
        cka=cka,
        correlation=Correlation(
            difference=float(difference.abs().mean()),
            matrix=tuple(map(tuple, difference.tolist())) if few else None,
        ),
    )


def agreement(first: Predictions, second: Predictions) -> float:
    """Share of the samples, labeled or not, for which both networks give the same class."""
    if len(first) != len(second):
        raise LimbeckError(
            f"agreement needs two answers to each sample, not {len(first)} answers and {len(second)}"
        )
    return float((first.logits.argmax(1) == second.logits.argmax(1)).double().mean())


def divergence(student: Tensor, teacher: Tensor) -> float:
    """Mean KL(teacher, student) of the softmax answers in nats; logits (N, C) of the same samples."""
    theirs, ours = (logits.double().log_softmax(1) for logits in (teacher, student))
    return float(F.kl_div(ours, theirs, log_target=True, reduction="batchmean"))


def class_correlation(logits: Tensor) -> Tensor:
    """Correlation of the classes' logits over the samples.

    Args:
        logits: (N, C), N >= 2.
    Returns: (C, C) float64; 0 where a logit never changes.
    """
    return torch.corrcoef(logits.double().T).nan_to_num()


def correlation_difference(student: Tensor, teacher: Tensor) -> Tensor:
    """Difference of the class-correlation matrices, student less teacher.

    Whether a student has the teacher's idea of which classes are alike. Tian et al., Contrastive
    Representation Distillation, ICLR 2020, arXiv:1910.10699, Fig. 2. Its mean absolute value is the figure
    in `Correlation.difference`.

    Args:
        student: (N, C) logits.
        teacher: (N, C) logits of the same samples.
    Returns: (C, C) float64 in [-2, 2].
    """
    return class_correlation(student) - class_correlation(teacher)


def mistakes(student: Predictions, teacher: Predictions, most: int = 12) -> tuple[Mistake, ...]:
    """Samples that only the teacher gets right, those first that the student is surest of.

    Args:
        student: answers for labeled samples; a sample without a label is nobody's mistake.
        teacher: answers for the same samples.
        most: how many to name, at most.
    """
    targets = teacher.targets
    if targets is None:
        return ()
    ours, theirs = student.logits.argmax(1), teacher.logits.argmax(1)
    places = ((theirs == targets) & (ours != targets)).nonzero().flatten()
    confidence = student.logits[places].double().softmax(1).amax(1)
    surest = places[confidence.argsort(descending=True, stable=True)[:most]]
    return tuple(
        Mistake(index=place, target=int(targets[place]), student=int(ours[place]), teacher=int(theirs[place]))
        for place in surest.tolist()
    )
