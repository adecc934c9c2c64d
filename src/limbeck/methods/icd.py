"""Invariant Consistency for Knowledge Distillation. Giakoumoglou & Stathaki, 2024, arXiv:2407.11802v1."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.parts.blocks import full_precision, gather, unit
from limbeck.methods.parts.shapes import same_samples, vectors
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs

FIXED_SCALE = 1 / 0.07
"""The paper's scale where it is not learned."""


def icd(
    student: Tensor,
    teacher: Tensor,
    log_scale: Tensor,
    bias: Tensor,
    alpha: float = 0.5,
    max_scale: float = 10.0,
) -> Tensor:
    """The student picks out its own teacher vector, and scores students and teachers alike.

        A_ij = min(exp(log_scale), max_scale) cos(student_i, teacher_j) + bias
        L    = mean_i CE(A_i., i) + alpha KL(Q || P),   P = softmax over j of A_ij,
                                                        Q = (softmax over i of A_ij) transposed

    The negatives are the other samples of the batch, so the value follows its size: log B at chance. The bias
    cancels in both softmaxes and gets no gradient; it is there because the paper has it.

    Args:
        student: (B, D) projected embeddings, normalized here.
        teacher: (B, D) the same of the teacher.
        log_scale: scalar, natural logarithm of the scale; gets no gradient where the scale is at its limit.
        bias: scalar.
        alpha: weight of the second term; the divergence is the batch mean.
        max_scale: limit of the scale; `math.inf` for none.
    Raises:
        LimbeckError: for a batch of one sample, which has no negatives, for different numbers of samples,
            and for other shapes.
    """
    scores = scores_of(student, teacher, log_scale, bias, max_scale)
    return contrast(scores) + alpha * invariance(scores)


def scores_of(student: Tensor, teacher: Tensor, log_scale: Tensor, bias: Tensor, max_scale: float) -> Tensor:
    """(B, B) scores A of the students (rows) with the teachers (columns)."""
    vectors("icd", student=student, teacher=teacher)
    if len(student) < 2:
        raise LimbeckError(
            "icd contrasts each sample with the others of its batch, so a batch of one has no negatives; "
            "give it at least 2 samples"
        )
    same_samples("icd", student, teacher)
    similarity = unit(full_precision(student)) @ unit(full_precision(teacher)).T
    scale = log_scale.clamp(max=math.log(max_scale)).exp()  # in this order nothing overflows
    return scale * similarity + bias


def contrast(scores: Tensor) -> Tensor:
    """Cross-entropy of each row with its own column, a scalar."""
    return F.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def invariance(scores: Tensor) -> Tensor:
    """Divergence KL(Q || P) of the rows' distributions P from the columns' Q, a scalar."""
    rows, columns = F.log_softmax(scores, dim=1), F.log_softmax(scores, dim=0).T
    return F.kl_div(rows, columns, reduction="batchmean", log_target=True)


class ICD(Method):
    """In a batch the two embeddings of a sample are nearest to each other, from either network's side.

    The embeddings of both networks are projected to one space, and both projectors are trained; the teacher
    itself is not. The batch that is contrasted is the whole batch, of all processes. Its terms are "contrast"
    and "invariance", the latter counted `alpha` times. With KD beside it, as the paper has it too:
    `ce + kd + icd`.

    Args:
        alpha: weight of the invariance term.
        dim: size of the space that embeddings are projected to.
        max_scale: limit of the learned scale.
        learn_scale: whether the scale, from e on, and the bias, from 0 on, are learned.
        scale: the fixed scale where it is not learned; it may exceed `max_scale`, and the bias is then 0.
    """

    reads = Reads(student=("embedding",), teacher=("embedding",))
    recipe = "ce + icd"
    relates = True
    min_samples = 2

    def __init__(
        self,
        alpha: NonNegative = 0.5,
        dim: Count = 128,
        max_scale: Positive = 10.0,
        learn_scale: bool = True,
        scale: Positive = FIXED_SCALE,
    ) -> None:
        super().__init__()
        if learn_scale and "scale" in self.given:
            raise LimbeckError("icd: scale is the fixed one; add learn_scale=False, or leave it out")
        if not learn_scale and "max_scale" in self.given:
            raise LimbeckError("icd: max_scale limits the learned scale; leave it out with learn_scale=False")
        self.alpha, self.dim, self.learn_scale = alpha, dim, learn_scale
        self.max_scale = max_scale if learn_scale else math.inf
        self.start = 1.0 if learn_scale else math.log(scale)

    def bind(self, context: Context) -> None:
        """Builds the projectors of both sides, the scale and the bias."""
        assert context.teacher is not None
        self.project_student = nn.Linear(context.student.embedding.shape[1], self.dim)
        self.project_teacher = nn.Linear(context.teacher.embedding.shape[1], self.dim)
        self.log_scale = nn.Parameter(torch.tensor(self.start), requires_grad=self.learn_scale)
        self.bias = nn.Parameter(torch.tensor(0.0), requires_grad=self.learn_scale)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The two terms over the batch of all processes."""
        scores = scores_of(
            gather(self.project_student(student.embedding)),
            gather(self.project_teacher(teacher.embedding)),
            self.log_scale,
            self.bias,
            self.max_scale,
        )
        return {"contrast": contrast(scores), "invariance": Term(invariance(scores), weight=self.alpha)}
