"""Towards Cross-Tokenizer Distillation: the Universal Logit Distillation Loss for LLMs. Boizard et al., 2024,
arXiv:2402.12030."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Positive
from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import class_logits, same_samples
from limbeck.outputs import Batch, Outputs
from limbeck.retold import APART, Counterparts


def uld(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0, reduction: Reduction = "mean"
) -> Tensor:
    """Wasserstein distance of two distributions over vocabularies that have nothing to do with each other.

        W1 = sum_i |p_t(i) - p_s(i)|

    with the probabilities of each in descending order, the shorter list filled up with zeros: what it costs
    to turn one into the other, if every token is as far from every other.

    Args:
        student_logits: (P, C) of the student's predictions.
        teacher_logits: (P, D) of the teacher's, D of any size.
        temperature: divides both logits; nothing else is scaled by it.
        reduction: "mean" for the mean over rows, a scalar; "none" for (P,).
    Raises:
        LimbeckError: for what is no rows of logits, as many of both.
    """
    class_logits("uld", student_logits=student_logits, teacher_logits=teacher_logits)
    same_samples("uld", student_logits, teacher_logits)
    student, teacher = (
        (full_precision(logits) / temperature).softmax(-1) for logits in (student_logits, teacher_logits)
    )
    return reduce(sorted_distance(student, teacher), reduction)


def sorted_distance(first: Tensor, second: Tensor) -> Tensor:
    """(P,) sum of the absolute differences of rows (P, C) and (P, D), each in descending order, with zeros
    where one has no more."""
    width = max(first.shape[-1], second.shape[-1])
    ordered = (
        F.pad(each.sort(-1, descending=True).values, (0, width - each.shape[-1])) for each in (first, second)
    )
    return (torch.sub(*ordered)).abs().sum(-1)


class ULD(Method):
    """The student's probabilities, in descending order, follow the teacher's, whatever their tokens are.

    The n-th token of a response is compared with the n-th token that the teacher makes of it, up to the end
    of the shorter list; the mean is over all predicted tokens of the student, of which those without a
    counterpart count as 0. The distance knows how sure the teacher is, and nothing of what it is sure of.

    Args:
        temperature: divides both logits before the softmax.
    """

    name = "uld"
    reads = Reads(student=("logits",), teacher=("logits",), batch=("targets",))
    recipe = "ce + 1.5*uld"
    rows = "classes"
    tasks = ("language",)
    retold = True

    def __init__(self, temperature: Positive = 1.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        pairs = counterparts(teacher, batch).pairs
        there = pairs != APART
        losses = uld(student.logits[there], teacher.logits[pairs[there]], self.temperature, "none")
        return losses.sum() / len(pairs)


def counterparts(teacher: Outputs, batch: Batch) -> Counterparts:
    """What goes with what in the rows of a student and its teacher, which may have the same tokens."""
    if "retold" in teacher:
        found: Counterparts = teacher["retold"]
        return found
    assert batch.targets is not None, "they are read"
    return Counterparts.same(batch.targets)
