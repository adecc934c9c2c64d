"""Self-supervised KD Using Singular Value Decomposition. Lee et al., ECCV 2018, arXiv:1807.06819."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Count
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce, unit
from limbeck.methods.parts.stages import (
    Pairs,
    alike_channels,
    by_channel,
    described,
    stage_pairs,
    valid,
    without_padding,
)
from limbeck.outputs import Batch, Outputs

SPARE = 3
"""Further singular vectors of the student, of which those that are nearest the teacher's are taken."""

CLOSE = 1e-5
"""Eigenvalues, as shares of their sum, that are nearer than this count as one in the gradient."""


def kdsvd(
    student_stages: Sequence[Tensor],
    teacher_stages: Sequence[Tensor],
    k: int = 1,
    reduction: Reduction = "mean",
) -> Tensor:
    """How differently the main directions of neighboring stages are related, in the CRD benchmark's form.

    A stage is compressed to k right singular vectors v of its (positions, channels) matrix: the teacher's
    first, and those of the student's first k + 3 that are nearest to them in angle, with their signs. Both
    are multiplied by the teacher's singular values, at unit length. Neighboring stages l and m are related
    by a Gaussian kernel, and the squared difference is summed over channels, vectors and stages, so it grows
    with the channels:

        R_pq = exp(-(v_l[p] - v_m[q])^2 / 8),   sum over l, p, q of (R^student_pq - R^teacher_pq)^2

    A singular vector has no sign of its own, and the value follows that of the teacher's: here its components
    sum to no less than 0, which is so of the first of any map without negative values. The gradient is finite
    where singular values coincide, between whose vectors there is no direction to learn.

    Args:
        student_stages: at least two, shallow to deep: maps (B, C, H, W), or hidden states (B, L, D), zero at
            padding.
        teacher_stages: as many of the same kind with the same channels, of any size; they get no gradient.
        k: singular vectors of each stage.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for other counts, for stages with other channels, and for fewer than k singular vectors.
    """
    pairs = list(zip(student_stages, teacher_stages, strict=False))
    if not 2 <= len(pairs) == max(len(student_stages), len(teacher_stages)) or not all(
        _compressible(*pair, k) for pair in pairs
    ):
        raise LimbeckError(
            f"kdsvd compares at least two stages of the student, compressed to {k} singular vectors each, "
            "with as many of the teacher that have the same channels, not "
            f"{[tuple(stage.shape) for stage in student_stages]} with "
            f"{[tuple(stage.shape) for stage in teacher_stages]}"
        )
    compressed = [_compressed(*pair, k) for pair in pairs]
    total = torch.zeros_like(compressed[0][0][:, 0, 0])
    for (student, teacher), (next_student, next_teacher) in pairwise(compressed):
        difference = _related(student, next_student) - _related(teacher, next_teacher)
        total = total + difference.square().sum((1, 2, 3))
    return reduce(total, reduction)


def _compressible(student: Tensor, teacher: Tensor, k: int) -> bool:
    return alike_channels(student, teacher) and all(
        k <= min(by_channel(stage).shape[1:]) for stage in (student, teacher)
    )


def _related(lower: Tensor, upper: Tensor) -> Tensor:
    """(B, C_lower, C_upper, k) from (B, C_lower, k) and (B, C_upper, k)."""
    return (-(lower.unsqueeze(2) - upper.unsqueeze(1)).square() / 8).exp()


def _compressed(student: Tensor, teacher: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(B, C, k) of the student and of the teacher."""
    theirs, values = _singular(teacher.detach(), k)
    theirs = theirs * torch.where(theirs.sum(1, keepdim=True) < 0, -1, 1)
    ours, _ = _singular(student, k + SPARE)
    cosines = ours.mT @ theirs
    nearest = F.one_hot(cosines.abs().argmax(1), cosines.shape[1]).mT
    return ours @ (nearest * cosines.sign()) * values, theirs * values


def _singular(stage: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """First right singular vectors (B, C, count), and their singular values (B, 1, count) at unit length."""
    channels = unit(by_channel(full_precision(stage)), dim=(1, 2))
    if channels.shape[1] <= channels.shape[2]:
        vectors, eigenvalues = _eigenvectors(channels @ channels.mT, count)
    else:  # the smaller of the two matrices with these eigenvalues
        left, eigenvalues = _eigenvectors(channels.mT @ channels, count)
        vectors = unit(channels @ left)
    return vectors, unit(eigenvalues.clamp(min=0).sqrt()).unsqueeze(1)


def _eigenvectors(matrices: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first eigenvectors (B, N, count) of symmetric matrices (B, N, N), and the eigenvalues (B, count).

    The vectors have a gradient, which is finite where eigenvalues coincide; the values have none.
    """
    with torch.no_grad():  # what is not finite goes on into the result below; eigh would raise
        values, vectors = torch.linalg.eigh(matrices.nan_to_num(posinf=0, neginf=0))
        values, vectors = values.flip(1), vectors.flip(2)
        first = vectors[:, :, :count]
        gaps = values[:, None, :count] - values[:, :, None]
        rates = gaps / (gaps.square() + CLOSE**2)  # 1 / gap, but for gaps that are hardly there
    # First-order perturbation: eigenvector i turns towards j by (v_j . dA v_i) / (value_i - value_j).
    turned = vectors @ (vectors.mT @ matrices @ first * rates)
    return first + (turned - turned.detach()), values[:, :count]


class KDSVD(Method):
    """The main directions of one stage and the next are related in the student as in the teacher.

    In a token model a position is a token, and padding is none.

    Args:
        k: singular vectors that a stage is compressed to.
        pairs: [student's, teacher's] stages that are compared, shallow to deep, counted from 0; all in order
            unless given.
    """

    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + kdsvd"  # mdistiller's; the CRD benchmark published no weight
    per = "samples"

    def __init__(self, k: Count = 1, pairs: Pairs | None = None) -> None:
        super().__init__()
        self.k, self.pairs = k, pairs

    def bind(self, context: Context) -> None:
        """Settles which stages are compared.

        Raises:
            LimbeckError: for a single pair of stages, for stages with other channels than the teacher's, and
                for fewer singular vectors than k.
        """
        assert context.teacher is not None
        self.places = stage_pairs(self.name, context, self.pairs)
        if len(self.places) < 2:
            raise LimbeckError(
                "kdsvd relates neighboring stages and needs at least 2 pairs of them, not 1; sp compares one"
            )
        for pair in self.places:
            if not _compressible(context.student.stages[pair[0]], context.teacher.stages[pair[1]], self.k):
                raise LimbeckError(
                    "kdsvd compares maps, or hidden states, that have as many channels and at least "
                    f"k={self.k} singular vectors, but not {described(context, pair)}; name others with "
                    "kdsvd(pairs=[[student's, teacher's], ...]), or use at, which takes any channels"
                )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        ours = [student.stages[place] for place, _ in self.places]
        theirs = [teacher.stages[place] for _, place in self.places]
        return kdsvd(
            [without_padding(stage, valid(student, stage)) for stage in ours],
            [without_padding(stage, valid(teacher, stage)) for stage in theirs],
            self.k,
        )
