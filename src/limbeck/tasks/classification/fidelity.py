"""How close a student's class scores are to its teacher's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError

FEW_CLASSES = 20
"""A matrix with a row for each of more classes cannot be read."""


def agreement(first: Tensor, second: Tensor) -> float:
    """Share of the samples for which two networks give the same class; logits (N, C) of each.

    Raises:
        LimbeckError: if they answer to different numbers of samples.
    """
    if len(first) != len(second):
        raise LimbeckError(
            f"agreement needs two answers to each sample, not {len(first)} answers and {len(second)}"
        )
    return float((first.argmax(1) == second.argmax(1)).double().mean())


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
