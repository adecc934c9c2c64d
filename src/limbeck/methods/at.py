"""Paying More Attention to Attention. Zagoruyko & Komodakis, ICLR 2017, arXiv:1612.03928."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Count
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import token_mask
from limbeck.methods.parts.sides import pooled_side
from limbeck.methods.parts.stages import (
    Pairs,
    comparable,
    comparable_pairs,
    mean_over_positions,
    pooled,
    pooled_alike,
    valid,
)
from limbeck.outputs import Batch, Outputs
from limbeck.sides import Side, Size


def attention_transfer(
    student: Tensor, teacher: Tensor, p: int = 2, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Mean squared difference of two attention maps (section 3.1).

        L = mean_i mean_positions (A_s - A_t)^2,   A = a / ||a||,   a = mean_channels |F|^p

    A is the attention of a sample in a stage F, a vector over its positions. The larger of two maps F is
    average-pooled to the smaller's size before. The mean of squares over positions is the CRD benchmark's,
    where the paper has the norm of the difference: hence its weight of 1000.

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
    return _distance(attention(student, p, mask), attention(teacher, p, mask), mask, reduction)


def _distance(ours: Tensor, theirs: Tensor, mask: Tensor | None, reduction: Reduction) -> Tensor:
    """Mean squared difference of two attentions (B, positions)."""
    return reduce(mean_over_positions((ours - theirs).square(), mask), reduction)


def attention(stage: Tensor, p: int = 2, mask: Tensor | None = None) -> Tensor:
    """(B, positions) attention of a stage, of unit length over the positions of a sample."""
    values = full_precision(stage)
    energies = values.pow(p) if p == 2 else values.abs().pow(p)  # a square needs no absolute value
    energy = energies.mean(1 if stage.ndim == 4 else 2).flatten(1)
    return F.normalize(energy if mask is None else energy.masked_fill(~mask, 0), dim=1)


class AT(Method):
    """The student is active in the same places as the teacher, stage by stage.

    The terms of all pairs of stages are summed. In a token model a place is a token. A cache keeps attention
    maps at the smaller of the two sizes: the channels are averaged before the networks are compared.

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
        self.sides = tuple(self._side(context, pair) for pair in self.places)

    def _side(self, context: Context, pair: tuple[int, int]) -> Side:
        """The teacher's attention map, or its whole stage where that is a sequence, which may be padded."""
        side = pooled_side(context, pair)
        if context.student.stages[pair[0]].ndim != 4:
            return side
        name = f"{side.name}, attention with p={self.p}"
        return replace(side, name=name, function=partial(_attention, side=side, p=self.p))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        first, *rest = (
            self._compared(student, teacher, student.stages[place], side)
            for (place, _), side in zip(self.places, self.sides, strict=True)
        )
        return sum(rest, first)

    def _compared(self, student: Outputs, teacher: Outputs, ours: Tensor, side: Side) -> Tensor:
        if ours.ndim != 4:
            return attention_transfer(ours, side.of(teacher), self.p, valid(student, ours))
        theirs = side.of(teacher, ours.shape[2:])
        ours = attention(pooled(ours, theirs.shape[1], theirs.shape[2]), self.p)
        return _distance(ours, theirs.flatten(1), None, "mean")


def _attention(teacher: Outputs, size: Size, *, side: Side, p: int) -> Tensor:
    """(B, h, w) of a map that is pooled to the smaller of both sizes."""
    maps = side.function(teacher, size)
    return attention(maps, p).view(len(maps), *maps.shape[2:])
