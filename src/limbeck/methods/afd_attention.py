"""Show, Attend and Distill. Ji, Heo & Park, AAAI 2021, arXiv:2102.02973.

Equations and initialization as in the authors' code, clovaai/attention-feature-distillation. They link the
outputs of all residual blocks; here a stage is what `stages` has, which in limbeck's networks is a group of
blocks. (Attentive Feature Distillation, `afd`, shares the abbreviation.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Annotated, TypeAlias

import torch
from torch import Tensor, nn

from limbeck.arguments import Count, Limits
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce, unit
from limbeck.methods.parts.regressors import projector
from limbeck.methods.parts.shapes import same_samples, stage_like
from limbeck.methods.parts.sides import stage_side
from limbeck.methods.parts.stages import pooled, stage_pairs
from limbeck.outputs import Batch, Outputs

Places: TypeAlias = Annotated[Sequence[int], Limits(min_length=1)]
"""Stages of one network, each counted from 0, or from the end as in Python."""


def linked_attention(
    student_stages: Sequence[Tensor],
    teacher_stages: Sequence[Tensor],
    links: Tensor,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared differences of the attention maps of every student's and every teacher's stage, weighted.

        L = sum_t sum_s links_ts mean_pixels (phi(F_s) - phi(F_t))^2,   phi(F) = u(mean_channels F^2)

    u makes a sample's map a unit vector. Before it, the student's map is average-pooled to the teacher's
    size; where it is the smaller, its pixels are repeated.

    Args:
        student_stages: S maps (B, C, H, W), of any channels and sizes.
        teacher_stages: T maps (B, C, H, W), of any channels and sizes.
        links: (B, T, S) weight of each pair for each sample.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for stages that are no maps of the same samples, and links of another shape.
    """
    for place, stage in enumerate(student_stages):
        stage_like("linked_attention", (4,), **{f"student_stages[{place}]": stage})
    for place, stage in enumerate(teacher_stages):
        stage_like("linked_attention", (4,), **{f"teacher_stages[{place}]": stage})
    same_samples("linked_attention", *student_stages, *teacher_stages)
    if links.ndim != 3 or links.shape[1:] != (len(teacher_stages), len(student_stages)):
        raise LimbeckError(
            f"linked_attention: links has the shape {tuple(links.shape)} and must have the shape (B, "
            f"{len(teacher_stages)}, {len(student_stages)}), a weight for each of the teacher's stages and "
            "each of the student's"
        )
    same_samples("linked_attention", links, *student_stages)
    ours, theirs = ([_energy(stage) for stage in stages] for stages in (student_stages, teacher_stages))
    differences = [
        (unit(pooled(own, *other.shape[2:]).flatten(1)) - unit(other.flatten(1))).square().mean(1)
        for other, own in product(theirs, ours)
    ]
    return reduce((full_precision(links).flatten(1) * torch.stack(differences, 1)).sum(1), reduction)


def _energy(maps: Tensor) -> Tensor:
    """(B, 1, H, W) mean over the channels of the squares."""
    return full_precision(maps).square().mean(1, keepdim=True)


class Links(nn.Module):
    """Which of the student's stages each of the teacher's goes with, for each sample, learned.

        q_t = BN(W_t mean_pixels F_t),   k_s = ReLU(BN(W_s mean_pixels F_s)),   [k_s1, ..., k_sT] = BN(W k_s)
        links_ts = softmax_s (q_t . k_st + p_t . p_s) / sqrt(dim)

    The vectors p are learned. The batch norms are over the batch of all processes, the last one over the
    student's stages too.

    Args:
        student: channels of each of the student's stages.
        teacher: channels of each of the teacher's stages.
        dim: width of queries, keys and position vectors.
    """

    def __init__(self, student: Sequence[int], teacher: Sequence[int], dim: int) -> None:
        super().__init__()
        self.query = nn.ModuleList(projector([channels, dim], [1], relu=False) for channels in teacher)
        self.key = nn.ModuleList(projector([channels, dim], [1]) for channels in student)
        self.key_for = projector([dim, dim * len(teacher)], [1], relu=False)
        self.teacher_position = nn.Parameter(nn.init.xavier_normal_(torch.empty(len(teacher), dim)))
        self.student_position = nn.Parameter(nn.init.xavier_normal_(torch.empty(len(student), dim)))

    def queries(self, teacher: Sequence[Tensor]) -> Tensor:
        """The teacher's stages to (B, T, dim)."""
        return self._seen(self.query, teacher).mT

    def forward(self, queries: Tensor, student: Sequence[Tensor]) -> Tensor:
        """(B, T, dim) queries and the student's stages to (B, T, S) links with the sum 1 over S."""
        dim = queries.shape[2]
        keys = self.key_for(self._seen(self.key, student).unsqueeze(3)).squeeze(3)
        keys = full_precision(keys).view(len(keys), -1, dim, len(student))
        positions = self.teacher_position @ self.student_position.mT
        scores = (queries.unsqueeze(3) * keys).sum(2) + full_precision(positions)
        links: Tensor = (scores / math.sqrt(dim)).softmax(2)
        return links

    @staticmethod
    def _seen(layers: nn.ModuleList, stages: Sequence[Tensor]) -> Tensor:
        """(B, dim, number of stages)."""
        means = [full_precision(stage).mean((2, 3), keepdim=True) for stage in stages]
        seen = [layer(mean).flatten(1) for layer, mean in zip(layers, means, strict=True)]
        return full_precision(torch.stack(seen, 2))


class AFDAttention(Method):
    """Every stage of the teacher is matched by those of the student that an attention links it to.

    The attention is trained with the student by the same loss, so nothing keeps it from preferring stages
    that are easily matched. Stages must be maps. One of the teacher's with a single pixel has no attention to
    compare, and is left out. A cache keeps the teacher's whole maps, of whose channels queries are learned.

    Args:
        dim: width of queries, keys and position vectors.
        student_stages: those of the student to choose from, counted from 0; all unless given.
        teacher_stages: those of the teacher to match, counted from 0; all unless given.
    """

    name = "afd_attention"
    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + 0.9*kd + 200*afd_attention"
    min_samples = 2
    per = "samples"

    def __init__(
        self, dim: Count = 128, student_stages: Places | None = None, teacher_stages: Places | None = None
    ) -> None:
        super().__init__()
        self.dim, self.student_stages, self.teacher_stages = dim, student_stages, teacher_stages

    def bind(self, context: Context) -> None:
        """Builds the attention.

        Raises:
            LimbeckError: for a stage that a network has not or that is no map, and for a teacher all of whose
                maps have one pixel.
        """
        assert context.teacher is not None
        ours, theirs = context.student.stages, context.teacher.stages
        self.ours = list(range(len(ours)) if self.student_stages is None else self.student_stages)
        self.theirs = list(range(len(theirs)) if self.teacher_stages is None else self.teacher_stages)
        stage_pairs(self.name, context, list(product(self.ours, self.theirs)))
        for role, stages, places in (("student", ours, self.ours), ("teacher", theirs, self.theirs)):
            for place in places:
                if stages[place].ndim != 4:
                    raise LimbeckError(
                        f"{self.name} compares maps (channels, height, width), but stage {place} of the "
                        f"{role} is {tuple(stages[place].shape[1:])}; name others with "
                        f"{self.name}({role}_stages=[...])"
                    )
        self.theirs = [place for place in self.theirs if theirs[place][0, 0].numel() > 1]
        if not self.theirs:
            raise LimbeckError(
                f"{self.name} compares where the networks attend, but the teacher's stages have one pixel "
                f"each; name others with {self.name}(teacher_stages=[...]), or take larger inputs"
            )
        self.sides = tuple(stage_side(context, place) for place in self.theirs)
        self.attention = Links(
            [ours[place].shape[1] for place in self.ours],
            [theirs[place].shape[1] for place in self.theirs],
            self.dim,
        )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        ours = [student.stages[place] for place in self.ours]
        theirs = [side.of(teacher) for side in self.sides]
        return linked_attention(ours, theirs, self.links(ours, theirs))

    def links(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """(B, T, S) weight of each pair of stages."""
        links: Tensor = self.attention(self.attention.queries(teacher), student)
        return links
