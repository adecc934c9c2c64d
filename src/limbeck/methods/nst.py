"""Knowledge Distill via Neuron Selectivity Transfer. Huang & Wang, 2017, arXiv:1707.01219."""

from __future__ import annotations

from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce, unit
from limbeck.methods.parts.shapes import token_mask
from limbeck.methods.parts.sides import pooled_side
from limbeck.methods.parts.stages import (
    Pairs,
    by_channel,
    comparable,
    comparable_pairs,
    pooled_alike,
    valid,
    without_padding,
)
from limbeck.outputs import Batch, Outputs


def nst(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Squared maximum mean discrepancy between the channels of two stages.

        L = mean_i (K(s, s) + K(t, t) - 2 K(s, t)),   K(a, b) = mean over channels j, k of (a_j . b_k)^2

    A channel a_j is the vector of its activations at all positions, at unit length; the kernel is the paper's
    polynomial one with d = 2 and c = 0. The larger of two maps is average-pooled to the smaller's size.

    Args:
        student: (B, C, H, W) map or (B, L, D) hidden states.
        teacher: the same kind, of any channel count.
        mask: (B, L) true where a token is valid; all are without it.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for tensors that have no positions in common.
    """
    if not comparable(student, teacher):
        raise LimbeckError(
            "nst compares two maps (B, C, H, W), or two sequences (B, L, D) of one length, "
            f"not {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    token_mask("nst", student, mask)
    student, teacher = full_precision(student), full_precision(teacher)
    if student.ndim == 4:
        student, teacher = pooled_alike(student, teacher)
    ours, theirs = (unit(by_channel(without_padding(stage, mask)), dim=2) for stage in (student, teacher))
    return reduce(_discrepancy(ours, theirs), reduction)


def _discrepancy(a: Tensor, b: Tensor) -> Tensor:
    """(B,) from channels (B, C, positions)."""
    many, others, positions = a.shape[1], b.shape[1], a.shape[2]
    if positions * (many + others) < many**2 + others**2 + many * others:
        # sum over i, j of (a_i.b_j)^2 is the inner product of sum a_i a_i^T and sum b_j b_j^T.
        return (a.mT @ a / many - b.mT @ b / others).square().sum((1, 2))
    return _mean_kernel(a, a) + _mean_kernel(b, b) - 2 * _mean_kernel(a, b)


def _mean_kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.mT).square().mean((1, 2))


class NST(Method):
    """The distribution of channel activations matches the teacher's, stage by stage.

    The terms of all pairs of stages are summed. In a token model a place is a token, and padding is none. A
    cache keeps the maps at the smaller of the two sizes: the kernel is of every channel with every other.

    Args:
        pairs: [student's, teacher's] stages to compare, counted from 0; all in order unless given.
    """

    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + 50*nst"  # the CRD benchmark's
    per = "samples"

    def __init__(self, pairs: Pairs | None = None) -> None:
        super().__init__()
        self.pairs = pairs

    def bind(self, context: Context) -> None:
        """Settles which stages are compared.

        Raises:
            LimbeckError: for stages without positions in common.
        """
        self.places = comparable_pairs(self.name, context, self.pairs)
        self.sides = tuple(pooled_side(context, pair) for pair in self.places)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        stages = [student.stages[ours] for ours, _ in self.places]
        first, *rest = (
            nst(ours, side.of(teacher, ours.shape[2:]), valid(student, ours))
            for ours, side in zip(stages, self.sides, strict=True)
        )
        return sum(rest, first)
