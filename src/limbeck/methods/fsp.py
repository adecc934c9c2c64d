"""A Gift from Knowledge Distillation. Yim et al., CVPR 2017."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from limbeck.arguments import Count, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.initializing import Initializing
from limbeck.methods.parts.stages import (
    Pairs,
    alike_channels,
    by_channel,
    check_same_tokens,
    comparable,
    described,
    pooled_alike,
    stage_pairs,
    valid,
    without_padding,
)
from limbeck.outputs import Batch, Outputs


def fsp(
    student_stages: Sequence[Tensor],
    teacher_stages: Sequence[Tensor],
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean squared difference of the flow of solution procedure, summed over neighboring stages (section 3).

        L = mean_i sum_k ||G_k(s_i) - G_k(t_i)||^2 / (C_k C_k+1),   G_k = F_k F_k+1^T / P

    G_k is the flow from a stage to the next, made of the C_k channels of stage k at P positions as the matrix
    F_k (C_k, P); the larger of the two maps is average-pooled to the smaller's size. The difference is a mean
    over the matrix, as in the CRD benchmark.

    Args:
        student_stages: at least two, shallow to deep: maps (B, C, H, W), or hidden states (B, L, D).
        teacher_stages: as many of the same kind with the same channels, of any size.
        mask: (B, L) true where a token is valid; all are without it.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for other counts, and for stages with other channels.
    """
    ours, theirs = list(student_stages), list(teacher_stages)
    flows = [*pairwise(ours), *pairwise(theirs)]
    if (
        len(ours) != len(theirs)
        or not flows
        or not all(map(alike_channels, ours, theirs))
        or not all(comparable(lower, upper) for lower, upper in flows)
    ):
        raise LimbeckError(
            "fsp compares at least two stages of the student, all maps (B, C, H, W) or all sequences "
            "(B, L, D) of one length, with as many of the teacher that have the same channels, not "
            f"{[tuple(stage.shape) for stage in ours]} with {[tuple(stage.shape) for stage in theirs]}"
        )
    losses = [
        (_flow(*own, mask) - _flow(*other, mask)).square().mean((1, 2))
        for own, other in zip(pairwise(ours), pairwise(theirs), strict=True)
    ]
    return reduce(sum(losses[1:], losses[0]), reduction)


def _flow(lower: Tensor, upper: Tensor, mask: Tensor | None) -> Tensor:
    """(B, C_lower, C_upper)."""
    lower, upper = full_precision(lower), full_precision(upper)
    if lower.ndim == 4:
        (lower, upper), mask = pooled_alike(lower, upper), None
    before, after = (by_channel(without_padding(stage, mask)) for stage in (lower, upper))
    count = before.shape[2] if mask is None else mask.sum(1).clamp(min=1)[:, None, None]
    return before @ after.mT / count


class FSP(Initializing):
    """For some epochs before training, the student learns the teacher's flow from each stage to the next.

    The flow begins at the stem, so both networks must have one, and the student's channels must be the
    teacher's there and at every stage. In a token model padding does not count.

    Args:
        epochs: number of epochs of the phase, by the CRD benchmark's SGD without a schedule.
        lr: learning rate of the phase.
        pairs: [student's, teacher's] stages that the flow goes through after the stem, shallow to deep,
            counted from 0; all in order unless given.
    """

    reads = Reads(student=("stem", "stages"), teacher=("stem", "stages"))
    recipe = "ce + fsp"  # the CRD benchmark's
    per = "samples"

    def __init__(self, epochs: Count = 30, lr: Positive = 0.05, pairs: Pairs | None = None) -> None:
        super().__init__(epochs, lr)
        self.pairs = pairs

    def bind(self, context: Context) -> None:
        """Settles which stages are compared.

        Raises:
            LimbeckError: for other channels than the teacher's, and for stages that no flow is between.
        """
        super().bind(context)
        assert context.teacher is not None
        self.places = stage_pairs(self.name, context, self.pairs)
        ours, theirs = self._stages(context.student, context.teacher)
        check_same_tokens(self.name, context, *ours)
        for place, pair in enumerate(zip(ours, theirs, strict=True)):
            if not alike_channels(*pair):
                shapes = [tuple(stage.shape[1:]) for stage in pair]
                what = f"the stems of the student {shapes[0]} and the teacher {shapes[1]}"
                advice = "take a student as wide as the teacher"
                if place:
                    what = described(context, self.places[place - 1])
                    advice = "name others with fsp(pairs=[[student's, teacher's], ...])"
                raise LimbeckError(
                    f"fsp compares stages that have as many channels, but not {what}; {advice}, or use at, "
                    "which takes any channels"
                )
        for lower, upper in [*pairwise(ours), *pairwise(theirs)]:
            if not comparable(lower, upper):
                raise LimbeckError(
                    "fsp compares the flow between maps (channels, height, width), or between sequences of "
                    f"one length, but not from {tuple(lower.shape[1:])} to {tuple(upper.shape[1:])}"
                )

    def initialize(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        ours, theirs = self._stages(student, teacher)
        return fsp(ours, theirs, valid(student, ours[0]))

    def _stages(self, student: Outputs, teacher: Outputs) -> tuple[list[Tensor], list[Tensor]]:
        """Both stems, and the stages after them that are compared."""
        ours = [student.stem, *(student.stages[place] for place, _ in self.places)]
        theirs = [teacher.stem, *(teacher.stages[place] for _, place in self.places)]
        return ours, theirs
