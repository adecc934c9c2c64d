"""Structured Knowledge Distillation for Semantic Segmentation. Liu et al., CVPR 2019, arXiv:1903.04197.

Its pair-wise term alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from limbeck.arguments import Count
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce, unit
from limbeck.methods.parts.shapes import same_samples, stage_like
from limbeck.methods.parts.sides import pooled_side
from limbeck.methods.parts.stages import described, pooled, stage_pair
from limbeck.outputs import Batch, Outputs


def pairwise(student: Tensor, teacher: Tensor, nodes: int = 32, reduction: Reduction = "mean") -> Tensor:
    """Mean squared difference of the similarities between all positions of an image (equation 2).

        1 / N^2 sum_ij (a_s[i, j] - a_t[i, j])^2,   a[i, j] = cosine of the features at the nodes i and j

    A node is the mean of neighboring positions.

    Args:
        student: (B, C, H, W).
        teacher: (B, D, h, w).
        nodes: rows and columns of nodes at most; maps with more positions are average-pooled.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for other shapes.
    """
    stage_like("pairwise", (4,), student=student, teacher=teacher)
    same_samples("pairwise", student, teacher)
    sides = zip(student.shape[2:], teacher.shape[2:], strict=True)
    height, width = (min(*both, nodes) for both in sides)
    ours, theirs = (_similarities(pooled(full_precision(each), height, width)) for each in (student, teacher))
    return reduce((ours - theirs).square().mean((1, 2)), reduction)


def _similarities(maps: Tensor) -> Tensor:
    """(B, N, N) cosines between the positions of maps (B, C, H, W)."""
    features = unit(maps.flatten(2))
    return features.transpose(1, 2) @ features


class Pairwise(Method):
    """The positions of an image are as alike to the student as to the teacher.

    The paper's other terms are `kd` for each pixel, and an adversary, which is not built. A cache keeps the
    teacher's nodes, of which there are fewer numbers than similarities.

    Args:
        stage: the one compared, counted from 0, or from the end; or [student's, teacher's].
        nodes: rows and columns of nodes at most. The paper joins 2 x 2 positions of maps of 65 x 65.
    """

    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + 10*kd(temperature=1) + 10*pairwise"  # section 4.1: lambda 10
    per = "samples"

    def __init__(self, stage: int | Sequence[int] = -1, nodes: Count = 32) -> None:
        super().__init__()
        self.stage, self.nodes = stage, nodes

    def bind(self, context: Context) -> None:
        """Settles which stages are compared.

        Raises:
            LimbeckError: for stages that are no maps.
        """
        assert context.teacher is not None
        self.pair = stage_pair(self.name, context, self.stage)
        stages = context.student.stages[self.pair[0]], context.teacher.stages[self.pair[1]]
        if any(stage.ndim != 4 for stage in stages):
            raise LimbeckError(
                f"pairwise compares maps (channels, height, width), not {described(context, self.pair)}; "
                "name others with pairwise(stage=[student's, teacher's])"
            )
        self.sides = (pooled_side(context, self.pair, most=self.nodes),)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        ours = student.stages[self.pair[0]]
        return pairwise(ours, self.sides[0].of(teacher, ours.shape[2:]), self.nodes)
