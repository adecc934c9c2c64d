"""Decoupled Knowledge Distillation. Zhao, Cui, Song, Qiu & Liang, CVPR 2022, arXiv:2203.08679."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import NonNegative, Positive
from limbeck.methods.base import Method
from limbeck.methods.declarations import LossTerms, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce, risen
from limbeck.methods.parts.shapes import class_ids, same_logits
from limbeck.methods.terms import Term
from limbeck.outputs import UNLABELED, Batch, Outputs


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    reduction: Reduction = "mean",
) -> Tensor:
    """KD in two parts that are weighted apart, alpha TCKD + beta NCKD (section 3).

        TCKD = T^2 KL(b_t || b_s),   b = (p_y, 1 - p_y): the target class against all others
        NCKD = T^2 KL(q_t || q_s),   q = softmax(z / T) over the classes other than y

    With weights 1 and 1 - p_y of the teacher it would be KD. The weights are alpha = 1, T = 4 and, by pair of
    networks, beta = 2, 6 or 8 on CIFAR-100.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        targets: (B,) int64 class ids; a sample without a label (`UNLABELED`) counts as zero.
        alpha: weight of the target class's part.
        beta: weight of the other classes' part.
        temperature: T > 0, divides both logits.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: if the logits differ in shape or are no rows of at least 2 classes, and for targets of
            another number or dtype.
    """
    target, others = decoupled(student_logits, teacher_logits, targets, temperature)
    return reduce(alpha * target + beta * others, reduction)


def decoupled(
    student_logits: Tensor, teacher_logits: Tensor, targets: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """(B,) TCKD and (B,) NCKD, both zero where there is no label."""
    same_logits("dkd", student_logits, teacher_logits)
    class_ids("dkd", student_logits, targets)
    labeled = targets != UNLABELED
    classes = targets.where(labeled, 0).unsqueeze(1)
    student, teacher = (
        _parts(full_precision(logits) / temperature, classes) for logits in (student_logits, teacher_logits)
    )
    target, others = (
        F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1).where(labeled, 0)
        for ours, theirs in zip(student, teacher, strict=True)
    )
    return temperature**2 * target, temperature**2 * others


def _parts(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 2) logarithm of b, and (B, C) of q, with 0 at the target class; by their odds, so none is of 0."""
    target = torch.zeros_like(logits, dtype=torch.bool).scatter(1, classes, True)
    others = logits.masked_fill(target, -torch.inf)
    odds = logits.gather(1, classes) - others.logsumexp(1, keepdim=True)
    return F.logsigmoid(torch.cat([odds, -odds], dim=1)), F.log_softmax(others, dim=1).masked_fill(target, 0)


class DKD(Method):
    """KD in two weighted terms: of the target class, and of the distribution over the others.

    Its terms are "target" and "non_target". Both are weighted by the epoch over `warmup` until that many have
    passed; epochs are counted from 1, as in the authors' code, so the first one has 1/warmup.

    Args:
        alpha: weight of the target class's part.
        beta: weight of the other classes' part; the paper's 8 is for a teacher far above its student, 2 or 6
            for a near one.
        temperature: divides both logits before the softmax.
        warmup: epochs over which the weight rises; 0 for none, which also frees it from knowing the epoch.
    """

    reads = Reads(student=("logits",), teacher=("logits",), batch=("targets", "progress"))
    recipe = "ce + dkd"
    rows = "classes"
    row_wise = True

    def __init__(
        self,
        alpha: NonNegative = 1.0,
        beta: NonNegative = 8.0,
        temperature: Positive = 4.0,
        warmup: NonNegative = 20,
    ) -> None:
        super().__init__()
        if not warmup:
            self.reads = Reads(student=("logits",), teacher=("logits",), batch=("targets",))
        self.alpha, self.beta, self.temperature, self.warmup = alpha, beta, temperature, warmup

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The two terms."""
        assert batch.targets is not None
        weight = risen(batch.progress, self.warmup)
        target, others = decoupled(student.logits, teacher.logits, batch.targets, self.temperature)
        return {
            "target": Term(target.mean(), weight=self.alpha * weight),
            "non_target": Term(others.mean(), weight=self.beta * weight),
        }
