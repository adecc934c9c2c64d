"""Paying More Attention to Attention. Zagoruyko & Komodakis, ICLR 2017, arXiv:1612.03928."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Count
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import token_mask
from limbeck.methods.parts.stages import (
    Pairs,
    comparable,
    comparable_pairs,
    mean_over_positions,
    pooled_alike,
    valid,
)
from limbeck.outputs import Batch, Outputs


def attention_transfer(
    student: Tensor, teacher: Tensor, p: int = 2, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Mean squared difference of two attention maps (section 3.1).

    The attention of a stage is the mean over channels of |activation|^p at each position, normalized to unit
    length over the positions of a sample. The larger of two maps is average-pooled to the smaller's size. The
    difference is a mean over positions, as in the CRD benchmark: hence its weight of 1000.

    Args:
        student: (B, C, H, W) map or (B, L, D) hidden states.
        teacher: the same kind, of any channel count.
        p: power of the activations.
        mask: (B, L) true where a token is valid; all are without it.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for tensors that have no positions in common.
    """
    if not comparable(student, teacher):
        raise LimbeckError(
            "attention transfer compares two maps (B, C, H, W), or two sequences (B, L, D) of one length, "
            f"not {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    token_mask("attention_transfer", student, mask)
    if student.ndim == 4:
        student, teacher = pooled_alike(student, teacher)
    difference = attention(student, p, mask) - attention(teacher, p, mask)
    return reduce(mean_over_positions(difference.square(), mask), reduction)


def attention(stage: Tensor, p: int = 2, mask: Tensor | None = None) -> Tensor:
    """(B, positions) attention of a stage, of unit length over the positions of a sample."""
    energy = full_precision(stage).abs().pow(p).mean(1 if stage.ndim == 4 else 2).flatten(1)
    return F.normalize(energy if mask is None else energy.masked_fill(~mask, 0), dim=1)


class AT(Method):
    """The student is active in the same places as the teacher, stage by stage.

    The terms of all pairs of stages are summed. In a token model a place is a token.

    Args:
        p: power of the activations in the attention.
        pairs: [student's, teacher's] stages to compare, counted from 0; all in order unless given.
    """

    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + 1000*at"  # the CRD benchmark's
    per = "samples"

    def __init__(self, p: Count = 2, pairs: Pairs | None = None) -> None:
        super().__init__()
        self.p, self.pairs = p, pairs

    def bind(self, context: Context) -> None:
        """Settles which stages are compared.

        Raises:
            LimbeckError: for stages without positions in common.
        """
        self.places = comparable_pairs(self.name, context, self.pairs)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        pairs = [(student.stages[ours], teacher.stages[theirs]) for ours, theirs in self.places]
        first, *rest = (attention_transfer(*pair, self.p, valid(student, pair[0])) for pair in pairs)
        return sum(rest, first)
