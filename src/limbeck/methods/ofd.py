"""A Comprehensive Overhaul of Feature Distillation. Heo et al., ICCV 2019, arXiv:1904.01866."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import BatchNorm, batch_norms
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, gather, reduce
from limbeck.methods.parts.regressors import projector
from limbeck.methods.parts.shapes import same_samples
from limbeck.methods.parts.sides import pooled_side, stage_side
from limbeck.methods.parts.stages import Pairs, StageField, described, doubling, pooled, stage_pairs
from limbeck.outputs import Batch, Outputs

FIELD: StageField = "preactivations"


def ofd(
    student_stages: Sequence[Tensor],
    teacher_stages: Sequence[Tensor],
    margins: Sequence[Tensor],
    reduction: Reduction = "mean",
) -> Tensor:
    """Partial squared distance of the student's pre-activations to the teacher's through a margin ReLU.

        T       = max(t, margin),   the margin of a channel at most 0
        d(s, t) = 0 where s <= T <= 0, (s - T)^2 elsewhere
        L       = sum_i 2^(i - n) sum d(s_i, t_i),   i = 1..n

    Summed over a sample's neurons, so it grows with the stages: hence its weight of 0.001. The teacher's map
    is average-pooled to the student's size, or repeated where that is larger.

    Args:
        student_stages: (B, C, H, W) pre-activations of each stage, shallow to deep, as connectors give them.
        teacher_stages: the same channel counts.
        margins: (C,) of each stage.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for stages of different number or channel counts, or of different numbers of samples.
    """
    maps = all(stage.ndim == 4 for stage in [*student_stages, *teacher_stages])
    channels = [
        [stage.shape[1] if maps else tuple(stage.shape) for stage in student_stages],
        [stage.shape[1] if maps else tuple(stage.shape) for stage in teacher_stages],
        [margin.numel() for margin in margins],
    ]
    if not (maps and channels[0] == channels[1] == channels[2] != []):
        raise LimbeckError(
            "ofd compares maps (B, C, H, W) of the same channel counts, with a margin for each channel, "
            f"not {channels[0]} and {channels[1]} with {channels[2]}; bring the student's there by connectors"
        )
    same_samples("ofd", *student_stages, *teacher_stages)
    stages = zip(student_stages, teacher_stages, margins, strict=True)
    return reduce(doubling([_partial_distance(*stage) for stage in stages]), reduction)


def _partial_distance(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """(B,) sums over the neurons of one stage."""
    maps = pooled(full_precision(teacher), student.shape[2], student.shape[3])
    target = maps.maximum(full_precision(margin)[:, None, None])
    difference = full_precision(student) - target
    return torch.where(target > 0, difference, F.relu(difference)).square().flatten(1).sum(1)


def margins_of_batch_norm(norm: BatchNorm) -> Tensor:
    """(C,) expected negative outputs of a batch norm's channels: E[x | x < 0], x normal.

    Mean and deviation of x are the layer's bias and weight. A channel that is negative with a probability of
    at most 0.001 has minus three deviations instead, as in the authors' code.

    Args:
        norm: a batch norm over C channels.
    """
    mean = torch.zeros(norm.num_features, dtype=torch.float64)
    deviation = torch.ones_like(mean)
    if norm.affine:
        mean, deviation = norm.bias.detach().to(mean), norm.weight.detach().to(mean).abs()
    ratio = mean / deviation.clamp(min=torch.finfo(torch.float32).tiny)
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    negative = torch.special.ndtr(-ratio)
    return torch.where(negative > 0.001, mean - deviation * density / negative, -3 * deviation).float()


def margins_of_batch(teacher: Tensor) -> Tensor:
    """(C,) mean of each channel's negative values in the batch of all processes; 0 where there are none.

    Args:
        teacher: (B, C, H, W) pre-activations.
    """
    negative = full_precision(teacher).clamp(max=0)
    sums = torch.stack([negative.sum((0, 2, 3)), (negative < 0).sum((0, 2, 3))])
    totals = gather(sums[None]).sum(0)
    return totals[0] / totals[1].clamp(min=1)


class OFD(Method):
    """The student's pre-activations follow the teacher's where these are positive, and stay below elsewhere.

    A connector, convolution 1x1 and batch norm (over the batch of all processes), brings each stage of the
    student to the teacher's channels. How far below zero the student is pulled, the margin, is for each
    channel the expected value of the teacher's negative pre-activations.

    The teacher is in eval mode, as everywhere here; in the authors' code, by their intent, its batch norms
    use the statistics of the batch. A cache keeps its maps pooled to the student's size where that is
    smaller, before the margin; whole for the margins of each batch, which are taken of whole maps.

    Args:
        margins: "batch_norm" computes them once from the batch norm before the teacher's last ReLU of each
            stage, in a residual network the last of the branch; "batch" takes the mean of what is negative in
            each batch, for a teacher without such layers.
        pairs: [student's, teacher's] stages to compare, shallow to deep, for the last counts most; counted
            from 0, and all in order unless given.
    """

    reads = Reads(student=("preactivations",), teacher=("preactivations",))
    recipe = "ce + 0.001*ofd"
    per = "samples"

    def __init__(
        self, margins: Literal["batch_norm", "batch"] = "batch_norm", pairs: Pairs | None = None
    ) -> None:
        super().__init__()
        self.margins, self.pairs = margins, pairs

    def bind(self, context: Context) -> None:
        """Builds the connectors, and computes the margins of batch norms.

        Raises:
            LimbeckError: for stages that are no maps; for margins of batch norms that are not there.
        """
        assert context.teacher is not None
        self.places = stage_pairs(self.name, context, self.pairs, FIELD)
        self.sides = tuple(
            stage_side(context, pair[1], FIELD)
            if self.margins == "batch"
            else pooled_side(context, pair, FIELD)
            for pair in self.places
        )
        self.connectors = nn.ModuleList()
        for pair in self.places:
            ours, theirs = context.student.preactivations[pair[0]], context.teacher.preactivations[pair[1]]
            if not ours.ndim == theirs.ndim == 4:
                raise LimbeckError(
                    f"ofd compares maps (channels, height, width), not "
                    f"{described(context, pair, FIELD)}; name others with "
                    "ofd(pairs=[[student's, teacher's], ...])"
                )
            self.connectors.append(_connector(ours.shape[1], theirs.shape[1]))
        if self.margins == "batch_norm":
            for place, norm in enumerate(self._batch_norms(context)):
                self.register_buffer(f"margins{place}", margins_of_batch_norm(norm))

    def _batch_norms(self, context: Context) -> Iterator[BatchNorm]:
        """The teacher's, one for each pair."""
        network, points = context.teacher_network, context.teacher_points
        assert context.teacher is not None
        found: list[BatchNorm | None] = [None] * len(context.teacher.preactivations)
        if network is not None and points is not None:
            found = batch_norms(network, context.example, points.preactivations)
        for pair in self.places:
            norm = found[pair[1]]
            if norm is None:
                raise LimbeckError(
                    f"ofd finds no batch norm before the teacher's last ReLU in "
                    f'{described(context, pair, FIELD)}; have the margins of each batch: ofd(margins="batch")'
                )
            yield norm

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        maps = [student.preactivations[place] for place, _ in self.places]
        ours = [connect(each) for connect, each in zip(self.connectors, maps, strict=True)]
        theirs = [side.of(teacher, each.shape[2:]) for side, each in zip(self.sides, maps, strict=True)]
        if self.margins == "batch":
            return ofd(ours, theirs, [margins_of_batch(maps) for maps in theirs])
        return ofd(ours, theirs, [self.get_buffer(f"margins{place}") for place in range(len(theirs))])


def _connector(before: int, after: int) -> nn.Sequential:
    layers = projector([before, after], [1], relu=False)
    nn.init.kaiming_normal_(layers.get_parameter("0.weight"), mode="fan_out", nonlinearity="relu")
    return layers
