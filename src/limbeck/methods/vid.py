"""Variational Information Distillation. Ahn et al., CVPR 2019, arXiv:1904.05835."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import stage_like, token_mask
from limbeck.methods.parts.sides import pooled_side
from limbeck.methods.parts.stages import (
    Pairs,
    check_same_tokens,
    described,
    mean_over_positions,
    pooled_alike,
    stage_pairs,
    valid,
)
from limbeck.outputs import Batch, Outputs

INITIAL_VARIANCE = 5.0
LEAST_VARIANCE = 1e-5


def vid(
    prediction: Tensor,
    teacher: Tensor,
    log_scale: Tensor,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """How badly a Gaussian around the prediction explains the teacher's stage.

        L = mean_i mean_c mean_positions ((t - p)^2 / v_c + log v_c) / 2,   v_c = softplus(log_scale_c) + 1e-5

    The negative log-likelihood (section 2.1) without its constant and as a mean, as in the CRD benchmark. It
    is negative where the variance v is small and the prediction p good.

    Args:
        prediction: (B, C, H, W) map, (B, L, C) hidden states or (B, C) vectors, as the regressor gives them.
        teacher: the same shape.
        log_scale: (C,) one for each channel, or a scalar.
        mask: (B, L) true where a token is valid; all are without it.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for different or other shapes.
    """
    if prediction.shape != teacher.shape:
        raise LimbeckError(
            f"vid compares tensors of one shape, not {tuple(prediction.shape)} and {tuple(teacher.shape)}; "
            "predict the teacher's stage by a regressor"
        )
    stage_like("vid", (2, 3, 4), prediction=prediction, teacher=teacher)
    token_mask("vid", prediction, mask)
    variance = F.softplus(full_precision(log_scale)) + LEAST_VARIANCE
    if prediction.ndim == 4:
        variance = variance.view(-1, 1, 1)
    error = (full_precision(prediction) - full_precision(teacher)).square()
    values = (error / variance + variance.log()) / 2
    return reduce(mean_over_positions(values if mask is None else values.mean(2), mask), reduction)


class VID(Method):
    """Each stage of the student predicts the teacher's, with a variance for each of its channels.

    The regressors are three 1x1 convolutions without bias, or linear layers for hidden states and vectors,
    and the variances start from 5; both are trained. The terms of all pairs of stages are summed; the sum may
    be negative. The larger of two maps is average-pooled to the smaller's size before the regressor; a cache
    keeps the teacher's at that size, for each of its numbers is predicted.

    Args:
        pairs: [student's, teacher's] stages, counted from 0; all in order unless given.
    """

    reads = Reads(student=("stages",), teacher=("stages",))
    recipe = "ce + vid"  # the CRD benchmark's
    per = "samples"

    def __init__(self, pairs: Pairs | None = None) -> None:
        super().__init__()
        self.pairs = pairs

    def bind(self, context: Context) -> None:
        """Builds regressors and variances.

        Raises:
            LimbeckError: for stages without positions in common.
        """
        assert context.teacher is not None
        self.places = stage_pairs(self.name, context, self.pairs)
        self.sides = tuple(pooled_side(context, pair) for pair in self.places)
        self.regressors, self.log_scales = nn.ModuleList(), nn.ParameterList()
        start = math.log(math.expm1(INITIAL_VARIANCE - LEAST_VARIANCE))
        for pair in self.places:
            ours, theirs = context.student.stages[pair[0]], context.teacher.stages[pair[1]]
            check_same_tokens(self.name, context, ours)
            maps = ours.ndim == theirs.ndim == 4
            if not maps and ours.shape[:-1] != theirs.shape[:-1]:
                raise LimbeckError(
                    f"vid compares maps (channels, height, width), sequences of one length, or vectors, not "
                    f"{described(context, pair)}; name others with vid(pairs=[[student's, teacher's], ...])"
                )
            channels = theirs.shape[1 if maps else -1]
            self.regressors.append(_regressor(ours.shape[1 if maps else -1], channels, maps))
            self.log_scales.append(nn.Parameter(torch.full((channels,), start)))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        terms = []
        parts = zip(self.places, self.sides, self.regressors, self.log_scales, strict=True)
        for (place, _), side, regressor, log_scale in parts:
            ours = student.stages[place]
            theirs = side.of(teacher, ours.shape[2:])
            mask = valid(student, ours)
            if ours.ndim == 4:
                ours, theirs = pooled_alike(ours, theirs)
            terms.append(vid(regressor(ours), theirs, log_scale, mask))
        return torch.stack(terms).sum()


def _regressor(before: int, after: int, maps: bool) -> nn.Sequential:
    layer = partial(nn.Conv2d, kernel_size=1, bias=False) if maps else partial(nn.Linear, bias=False)
    return nn.Sequential(layer(before, after), nn.ReLU(), layer(after, after), nn.ReLU(), layer(after, after))
