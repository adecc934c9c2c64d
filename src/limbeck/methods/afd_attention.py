"""Show, Attend and Distill: Knowledge Distillation via Attention-based Feature Matching.
Ji, Heo & Park, AAAI 2021, arXiv:2102.02973. As in the authors' code, clovaai/attention-feature-distillation,
but for the candidates: there the output of every residual block, here every stage of a network.

`afd` is another paper's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce, unit
from limbeck.methods.parts.regressors import projector
from limbeck.methods.parts.shapes import same_samples, stage_like
from limbeck.methods.parts.stages import mean_of_positions, pooled
from limbeck.outputs import Batch, Outputs


def afd_attention(
    student_stages: Sequence[Tensor],
    teacher_stages: Sequence[Tensor],
    shares: Tensor,
    reduction: Reduction = "mean",
) -> Tensor:
    """Differences of where the stages are active, each pair weighted by a share.

        sum over stages t of the teacher and s of the student: share_ts mean over pixels of (a_s - a_t)^2

    a is the mean of the squares over a map's channels, the student's average-pooled to the teacher's size, at
    unit length.

    Args:
        student_stages: maps (B, C, H, W), of any channels and sizes, S of them.
        teacher_stages: the same of the teacher, T of them.
        shares: (B, T, S) how much each pair counts.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for what is no map, for different samples, and for other shares than these.
    """
    named = {f"student_stages[{place}]": stage for place, stage in enumerate(student_stages)}
    named |= {f"teacher_stages[{place}]": stage for place, stage in enumerate(teacher_stages)}
    stage_like("afd_attention", (4,), **named)
    same_samples("afd_attention", *named.values(), shares)
    if shares.shape[1:] != (len(teacher_stages), len(student_stages)):
        raise LimbeckError(
            f"afd_attention: shares has the shape {tuple(shares.shape)} and must have the shape "
            f"(B, {len(teacher_stages)}, {len(student_stages)}), one for each stage of the teacher and each "
            "of the student"
        )
    ours = [full_precision(stage).square().mean(1, keepdim=True) for stage in student_stages]
    differences = []
    for stage in teacher_stages:
        theirs = full_precision(stage).square().mean(1, keepdim=True)
        aim = unit(theirs.flatten(1))
        seen = [unit(pooled(each, *theirs.shape[2:]).flatten(1)) for each in ours]
        differences.append(torch.stack([(each - aim).square().mean(1) for each in seen], 1))
    return reduce((shares * torch.stack(differences, 1)).sum((1, 2)), reduction)


class AFDAttention(Method):
    """Every stage of the teacher is followed by those stages of the student that attention links it to.

    A stage of the teacher asks with a query and a stage of the student answers with a key for each of the
    teacher's, both made of its channel averages by learned layers; learned positions are added. The shares
    are the softmax of their products over the student's stages. All of it is trained with the student, the
    batch norms over the batch of all processes. Stages of the teacher with one pixel have nowhere to be
    active and are left out.

    Args:
        dim: size of queries and keys.
    """

    name = "afd_attention"
    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + 0.9*kd + 200*afd_attention"
    per = "samples"

    def __init__(self, dim: Count = 128) -> None:
        super().__init__()
        self.dim = dim

    def bind(self, context: Context) -> None:
        """Builds the layers that make queries and keys.

        Raises:
            LimbeckError: for stages that are no maps, and for a teacher whose maps have one pixel.
        """
        assert context.teacher is not None
        ours, theirs = context.student.stages, context.teacher.stages
        for role, stages in (("student", ours), ("teacher", theirs)):
            for place, stage in enumerate(stages):
                if stage.ndim != 4:
                    raise LimbeckError(
                        f"{self.name} compares maps (channels, height, width), and stage {place} of the "
                        f"{role} is {tuple(stage.shape[1:])}; name others with student_features or "
                        "teacher_features"
                    )
        self.places = [place for place, stage in enumerate(theirs) if stage[0, 0].numel() > 1]
        if not self.places or not ours:
            raise LimbeckError(
                f"{self.name} compares where maps are active, and there is no stage of the teacher with more "
                "than one pixel and one of the student to compare"
            )
        self.queries = nn.ModuleList(
            projector([theirs[place].shape[1], self.dim], [1], relu=False) for place in self.places
        )
        self.keys = nn.ModuleList(projector([stage.shape[1], self.dim], [1]) for stage in ours)
        self.bilinear = projector([self.dim, len(self.places) * self.dim], [1], relu=False)
        self.teacher_positions = nn.Parameter(torch.empty(len(self.places), self.dim))
        self.student_positions = nn.Parameter(torch.empty(len(ours), self.dim))
        for positions in (self.teacher_positions, self.student_positions):
            nn.init.xavier_normal_(positions)

    def shares(self, queries: Tensor, student: Sequence[Tensor]) -> Tensor:
        """(B, T, S) of the queries (B, T, dim) and the student's stages."""
        made = [
            layer(mean_of_positions(stage, None)[:, :, None, None]).flatten(1)
            for layer, stage in zip(self.keys, student, strict=True)
        ]
        keys = self.bilinear(torch.stack(made, 2).unsqueeze(3)).flatten(2).transpose(1, 2)
        keys = keys.unflatten(2, (len(self.places), self.dim))
        products = torch.einsum("bstd,btd->bts", keys, queries)
        products = products + self.teacher_positions @ self.student_positions.T
        return (products / self.dim**0.5).softmax(2)

    def select(self, queries: Tensor) -> Tensor | None:
        """(B, T) how much each stage of the teacher counts, by its queries (B, T, dim); None for 1 each."""
        return None

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        stages = [teacher.stages[place] for place in self.places]
        made = [
            layer(mean_of_positions(stage, None)[:, :, None, None]).flatten(1)
            for layer, stage in zip(self.queries, stages, strict=True)
        ]
        queries = torch.stack(made, 1)
        shares = self.shares(queries, student.stages)
        counted = self.select(queries)
        if counted is not None:
            shares = shares * counted.unsqueeze(2)
        return afd_attention(student.stages, stages, shares)
