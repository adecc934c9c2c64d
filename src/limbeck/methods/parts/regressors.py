"""Regressors: what brings a stage of the student to the channels and the size of one of the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from limbeck.methods.parts.blocks import alone, gather


def regressor(
    student: Tensor, teacher: Tensor, relu: bool = True, *, linear: bool = False
) -> nn.Module | None:
    """Brings a student's stage to the shape of a teacher's.

    Maps (B, C, H, W) as the CRD benchmark does: convolution, batch norm, ReLU; the convolution is 3x3 with
    stride 2 to halve the size, transposed 4x4 with stride 2 to double it, and otherwise 1x1, or larger by as
    much as the student's map is. Hidden states (B, L, D) and vectors (B, D), which may be negative, by one
    linear layer.

    Args:
        student: a stage of the example.
        teacher: the same.
        relu: whether the regressor of maps ends in it; not for pre-activations.
        linear: whether it is the convolution alone.
    Returns: the regressor; None if the teacher's map is larger and not twice as large, or is no map.
    """
    if student.ndim == teacher.ndim == 4:
        convolution = _convolution(student, teacher)
        if convolution is None:
            return None
        if linear:
            return convolution
        return nn.Sequential(
            convolution, GlobalBatchNorm2d(teacher.shape[1]), nn.ReLU() if relu else nn.Identity()
        )
    if student.ndim < 4 and student.shape[:-1] == teacher.shape[:-1]:
        return nn.Linear(student.shape[-1], teacher.shape[-1])
    return None


def connector(student: Tensor, teacher: Tensor, relu: bool = True) -> nn.Module | None:
    """The identity where the stages have one shape, the `regressor` where they have not."""
    return nn.Identity() if student.shape == teacher.shape else regressor(student, teacher, relu)


def _convolution(student: Tensor, teacher: Tensor) -> nn.Module | None:
    before, after = student.shape[1], teacher.shape[1]
    (height, width), (high, wide) = student.shape[2:], teacher.shape[2:]
    if (height, width) == (2 * high, 2 * wide):
        return nn.Conv2d(before, after, 3, stride=2, padding=1)
    if (2 * height, 2 * width) == (high, wide):
        return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
    if height >= high and width >= wide:
        return nn.Conv2d(before, after, (1 + height - high, 1 + width - wide))
    return None


def projector(channels: Sequence[int], kernels: Sequence[int], relu: bool = True) -> nn.Sequential:
    """Convolutions without bias that keep a map's size, each with batch norm and ReLU.

    Args:
        channels: of the maps that go in, between the convolutions, and of those that come out.
        kernels: side of each convolution's kernel, odd.
        relu: whether it ends in ReLU, which what is to be negative must not pass.
    """
    layers = nn.Sequential()
    for (before, after), kernel in zip(pairwise(channels), kernels, strict=True):
        convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
        layers.extend([convolution, GlobalBatchNorm2d(after), nn.ReLU()])
    if not relu:
        layers.pop(-1)
    return layers


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose batch is that of all processes, on any device (torch's SyncBatchNorm needs a GPU)."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        if alone() or not self.training:
            return super().forward(input)
        count = gather(input.new_full((1,), input[:, 0].numel())).sum()
        mean = _sum(input) / count
        centered = input - mean[:, None, None]
        variance = _sum(centered.square()) / count
        self._note(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return centered * scale[:, None, None] + self.bias[:, None, None]

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            assert self.momentum is not None
            running.lerp_(value, self.momentum)


def _sum(maps: Tensor) -> Tensor:
    """(C,) sums over the samples of all processes and their pixels."""
    return gather(maps.sum((0, 2, 3))[None]).sum(0)
