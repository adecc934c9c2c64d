"""Distilling the Knowledge in a Neural Network. Hinton, Vinyals & Dean, 2015, arXiv:1503.02531."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Positive
from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import same_logits
from limbeck.outputs import Batch, Outputs


def kd(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 4.0, reduction: Reduction = "mean"
) -> Tensor:
    """Divergence of the student's softened output from the teacher's, T^2 KL(p_t || p_s) (section 2).

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        temperature: T > 0, divides both logits; T^2 keeps the gradient's scale.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    same_logits("kd", student_logits, teacher_logits)
    student = F.log_softmax(full_precision(student_logits) / temperature, dim=-1)
    teacher = F.log_softmax(full_precision(teacher_logits) / temperature, dim=-1)
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
    return reduce(temperature**2 * divergence, reduction)


class KD(Method):
    """The student's softened class probabilities follow the teacher's.

    Args:
        temperature: divides both logits before the softmax.
    """

    reads = Reads(student=("logits",), teacher=("logits",))
    recipe = "0.1*ce + 0.9*kd"  # the CRD benchmark's
    rows = "classes"

    def __init__(self, temperature: Positive = 4.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        return kd(student.logits, teacher.logits, self.temperature)
