"""Distilling Knowledge via Knowledge Review. Chen et al., CVPR 2021, arXiv:2104.09044."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, NonNegative
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce, risen
from limbeck.methods.parts.regressors import projector
from limbeck.methods.parts.shapes import stage_like
from limbeck.methods.parts.sides import stage_side
from limbeck.methods.parts.stages import Pairs, described, pooled, stage_pairs
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs

LEVELS = (4, 2, 1)


def hierarchical_context(student: Tensor, teacher: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Mean squared difference of two maps at several resolutions (hierarchical context loss, section 3.3).

        L = mean_i sum_k 2^-k mean (P_k(s_i) - P_k(t_i))^2 / sum_k 2^-k

    P_0 leaves the map as it is, and P_1, P_2, P_3 average it to 4x4, 2x2, 1x1 pixels; resolutions that are no
    smaller than the map are left out, and those behind them move up.

    Args:
        student: (B, C, H, W) map or (B, C) vectors, as the fusion gives them.
        teacher: the same shape.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for different or other shapes.
    """
    if student.shape != teacher.shape:
        raise LimbeckError(
            f"the hierarchical context loss compares tensors of one shape, not {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}"
        )
    stage_like("hierarchical_context", (2, 4), student=student, teacher=teacher)
    difference = full_precision(student) - full_precision(teacher)
    total, weight, weights = difference.square().flatten(1).mean(1), 1.0, 1.0
    for level in LEVELS:
        if difference.ndim == 4 and level < min(difference.shape[2:]):
            weight /= 2
            weights += weight
            total = total + weight * pooled(difference, level, level).square().flatten(1).mean(1)
    return reduce(total / weights, reduction)


class Fusion(nn.Module):
    """One step of the review (attention-based fusion, section 3.3): a stage, joined with all that is deeper.

    Args:
        before: channels of the student's stage.
        width: channels in between.
        after: channels of the teacher's stage.
        deepest: whether there is nothing deeper to join it with.
    """

    def __init__(self, before: int, width: int, after: int, deepest: bool = False) -> None:
        super().__init__()
        self.enter = _convolution(before, width, 1)
        self.attention = None if deepest else nn.Sequential(nn.Conv2d(2 * width, 2, 1), nn.Sigmoid())
        self.leave = _convolution(width, after, 3)

    def forward(self, maps: Tensor, deeper: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """What is compared with the teacher's stage, of its size, and what the next shallower step joins.

        Args:
            maps: (B, before, h, w) the student's stage.
            deeper: what the step before this one has left, (B, width, ., .).
            size: height and width of the teacher's stage.
        """
        maps = self.enter(maps)
        if self.attention is not None:
            assert deeper is not None
            deeper = F.interpolate(deeper, maps.shape[2:])
            own, other = self.attention(torch.cat([maps, deeper], 1)).split(1, dim=1)
            maps = own * maps + other * deeper
        maps = F.interpolate(maps, tuple(size))
        return self.leave(maps), maps


class ReviewKD(Method):
    """Each stage of the student, fused with all deeper ones, matches a stage of the teacher.

    The student's stages and its embedding follow the teacher's pre-activations and its embedding, whatever
    their shapes. Batch norms are over the batch of all processes. The terms are "stages", all summed, and
    "embedding"; both are weighted by the epoch over `warmup` until that many have passed, with epochs counted
    from 1 as mdistiller does (the paper's own code counts from 0). A cache keeps the whole pre-activations:
    the first level of the loss compares each of their numbers.

    Args:
        pairs: [student's, teacher's] stages, counted from 0; all in order unless given.
        warmup: epochs over which the weight rises; 0 for none, which also frees it from knowing the epoch.
        width: most channels of a fusion; it has as many as the student's embedding up to that.
    """

    reads = Reads(
        student=("stages", "embedding"), teacher=("preactivations", "embedding"), batch=("progress",)
    )
    recipe = "ce + 5*reviewkd"
    per = "samples"
    min_samples = 2

    def __init__(self, pairs: Pairs | None = None, warmup: NonNegative = 20, width: Count = 512) -> None:
        super().__init__()
        self.pairs, self.warmup, self.width = pairs, warmup, width
        if not warmup:
            self.reads = replace(self.reads, batch=())

    def bind(self, context: Context) -> None:
        """Builds the fusions.

        Raises:
            LimbeckError: for stages that are no maps, and for a task whose samples have many embeddings.
        """
        assert context.teacher is not None
        if context.task.dense:
            raise LimbeckError(
                f"reviewkd reviews one embedding of each sample, and {context.task.name} has one at each "
                "position; use fitnet or at, which compare stages alone"
            )
        # The teacher's pre-activations are its stages here.
        context = replace(context, teacher=context.teacher.replace(stages=context.teacher.preactivations))
        assert context.teacher is not None
        ours, theirs = context.student, context.teacher
        self.places = sorted(
            (student % len(ours.stages), teacher % len(theirs.stages))
            for student, teacher in stage_pairs(self.name, context, self.pairs)
        )
        for pair in self.places:
            if not ours.stages[pair[0]].ndim == theirs.stages[pair[1]].ndim == 4:
                raise LimbeckError(
                    f"reviewkd compares maps (channels, height, width), not {described(context, pair)}; name "
                    "others with reviewkd(pairs=[[student's, teacher's], ...])"
                )
        self.sides = tuple(stage_side(context, theirs, "preactivations") for _, theirs in self.places)
        width = min(self.width, ours.embedding.shape[1])
        self.fusions = nn.ModuleList(
            Fusion(ours.stages[s].shape[1], width, theirs.stages[t].shape[1]) for s, t in self.places
        )
        self.deepest = Fusion(ours.embedding.shape[1], width, theirs.embedding.shape[1], deepest=True)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The two terms, from the deepest features to the shallowest."""
        output, deeper = self.deepest(student.embedding[:, :, None, None], None, (1, 1))
        embedding = hierarchical_context(output.flatten(1), teacher.embedding)
        stages = []
        parts = zip(reversed(self.places), reversed(self.sides), reversed(self.fusions), strict=True)
        for (ours, _), side, fusion in parts:
            target = side.of(teacher)
            output, deeper = fusion(student.stages[ours], deeper, target.shape[2:])
            stages.append(hierarchical_context(output, target))
        weight = risen(batch.progress, self.warmup)
        return {
            "stages": Term(torch.stack(stages).sum(), weight=weight),
            "embedding": Term(embedding, weight=weight),
        }


def _convolution(before: int, after: int, kernel: int) -> nn.Sequential:
    layers = projector([before, after], [kernel], relu=False)
    nn.init.kaiming_uniform_(layers.get_parameter("0.weight"), a=1)
    return layers
