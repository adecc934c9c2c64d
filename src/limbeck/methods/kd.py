"""Distilling the Knowledge in a Neural Network. Hinton, Vinyals & Dean, 2015, arXiv:1503.02531."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Positive
from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import same_classes, same_logits
from limbeck.outputs import NEVER, Batch, Outputs


def kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    reduction: Reduction = "mean",
    known: Tensor | None = None,
) -> Tensor:
    """Divergence of the student's softened output from the teacher's, T^2 KL(p_t || p_s) (section 2).

    Where a teacher tells the probabilities of some classes and of the others their sum, the others are one
    class on both sides, whose probability is the sum of theirs, `pooled`.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        temperature: T > 0, divides both logits; T^2 keeps the gradient's scale.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
        known: (B, C) bool, the classes whose probabilities the teacher tells; None for all.
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    same_logits("kd", student_logits, teacher_logits)
    if known is not None:
        same_classes("kd", student_logits, known)
        student_logits, teacher_logits = pooled(student_logits, known), pooled(teacher_logits, known)
    student = F.log_softmax(full_precision(student_logits) / temperature, dim=-1)
    teacher = F.log_softmax(full_precision(teacher_logits) / temperature, dim=-1)
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
    return reduce(temperature**2 * divergence, reduction)


def pooled(logits: Tensor, known: Tensor) -> Tensor:
    """(B, C + 1) logits of the classes that are known and, in the last column, of all others as one class.

        z_other = log sum_{c not known} exp(z_c)

    Their softmax at temperature 1 is that of (B, C) with the probabilities of the others added up. What is no
    class of its own any more, and the last column where all are known, has the logit `NEVER`.

    Args:
        logits: (B, C).
        known: (B, C) bool.
    """
    logits = full_precision(logits)
    others = logits.masked_fill(known, NEVER).logsumexp(-1, keepdim=True)
    return torch.cat([logits.masked_fill(~known, NEVER), others], -1)


class KD(Method):
    """The student's softened class probabilities follow the teacher's.

    Of a teacher that is a file of answers, all forms of an answer are taken.

    Args:
        temperature: divides both logits before the softmax.
    """

    reads = Reads(student=("logits",), teacher=("logits",))
    recipe = "0.1*ce + 0.9*kd"  # the CRD benchmark's
    rows = "classes"
    row_wise = True
    partial = True

    def __init__(self, temperature: Positive = 4.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        return kd(student.logits, teacher.logits, self.temperature, known=teacher.known)
