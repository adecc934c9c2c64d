"""Revisiting KD via Label Smoothing Regularization. Yuan et al., CVPR 2020, arXiv:1909.11723."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Limits, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import class_ids, class_logits, word
from limbeck.outputs import UNLABELED, Batch, Outputs

Form = Literal["paper", "released"]


def tfkd(
    student_logits: Tensor,
    targets: Tensor,
    temperature: float = 20.0,
    correct: float = 0.99,
    form: Form = "paper",
    reduction: Reduction = "mean",
) -> Tensor:
    """Divergence from a virtual teacher, which gives `correct` to the label and the rest to all others alike.

        u(k) = correct if k = y, else (1 - correct) / (C - 1)
        paper:      KL(softmax(log u / T) || softmax(z / T))
        released:   1/C KL(softmax(u / T) || softmax(z))

    The form that the authors released differs from the paper in three ways: the student has no temperature,
    the softmax is of probabilities, which makes the target all but uniform, and the mean is over classes too,
    so that the value falls with their number. The weight it was multiplied with is the one in the notation.

    Args:
        student_logits: (B, C), C at least 2.
        targets: (B,) int64 class ids; a sample without a label (`UNLABELED`) counts as zero.
        temperature: T > 0.
        correct: between 0 and 1, without them.
        form: "paper" or "released".
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for logits that are no rows of at least 2 classes, and for targets of another number or
            dtype.
    """
    word("tfkd", "form", form, Form)
    class_logits("tfkd", student_logits=student_logits)
    class_ids("tfkd", student_logits, targets)
    logits = full_precision(student_logits)
    labeled = targets != UNLABELED
    teacher = torch.full_like(logits, (1 - correct) / (logits.shape[1] - 1))
    teacher = teacher.scatter(1, targets.where(labeled, 0).unsqueeze(1), correct)
    if form == "paper":
        target, student = F.log_softmax(teacher.log() / temperature, dim=1), logits / temperature
    else:
        target, student = F.log_softmax(teacher / temperature, dim=1), logits
    divergence = F.kl_div(F.log_softmax(student, dim=1), target, reduction="none", log_target=True)
    per_sample = divergence.sum(1) if form == "paper" else divergence.mean(1)
    return reduce(per_sample.where(labeled, 0), reduction)


class TFKD(Method):
    """Teacher-free: a virtual teacher that is right by design, or the same network trained before.

    In mode "self" the teacher is one that is given, a trained network like the student, and the loss is that
    of kd, T^2 KL(p_t || p_s). In mode "virtual" there is none, and no T^2.

    Args:
        mode: "virtual" or "self".
        temperature: divides the logits of both sides before the softmax.
        correct: probability that the virtual teacher gives to the label.
        form: of the virtual teacher's loss: "paper", or "released" as the authors' code has it.
    """

    reads = Reads(student=("logits",), batch=("targets",))
    recipe = "0.9*ce + 0.1*tfkd"
    rows = "classes"
    row_wise = True
    partial = True

    def __init__(
        self,
        mode: Literal["virtual", "self"] = "virtual",
        temperature: Positive = 20.0,
        correct: Annotated[float, Limits(gt=0, lt=1)] = 0.99,
        form: Form = "paper",
    ) -> None:
        super().__init__()
        if mode == "self":
            for name in ("correct", "form"):
                if name in self.given:
                    raise LimbeckError(f"tfkd: {name} is the virtual teacher's; leave it out in mode self")
            self.reads = Reads(student=("logits",), teacher=("logits",))
        self.mode, self.temperature = mode, temperature
        self.correct, self.form = correct, form

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        if self.mode == "self":
            return kd(student.logits, teacher.logits, self.temperature, known=teacher.known)
        assert batch.targets is not None
        return tfkd(student.logits, batch.targets, self.temperature, self.correct, self.form)
