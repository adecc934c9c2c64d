"""What networks that label pixels look at images through: stages of classifiers, the last ones dilated."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor, nn

from limbeck.arguments import Count, Positive
from limbeck.models.blocks import conv_unit
from limbeck.models.inputs import Widths, per_stage
from limbeck.models.mobilenetv2 import STAGES, InvertedResidual
from limbeck.models.resnet import BasicBlock, Bottleneck

Stride: TypeAlias = Literal[4, 8, 16, 32]
"""Pixels of the image for one position of the last maps."""


class Trunk(nn.Module):
    """(B, in_channels, H, W) pixels to the maps of each stage, shallow to deep.

    Attributes:
        channels: of the maps of each stage.
        strides: pixels of the image for one position of them.
        paths: of the modules that the stages end with; that of the stem is `stem`.
        below: of what enters the last ReLU of each.
        initialized: whether it brings weights, drawn or trained.
    """

    initialized = False
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    paths: list[str]
    below: list[str]

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of each stage."""
        raise NotImplementedError


class ResidualTrunk(Trunk):
    """The residual blocks of `limbeck.models.resnet`; the first convolution and each stage halve the maps.

    Args:
        channels: number of channels of each stage.
        blocks: number of blocks of each stage, or of all.
        stem: channels of the first convolution; those of the first stage unless given.
        bottleneck: blocks of three convolutions, which end with four times the stage's channels.
        output_stride: at which stages dilate their convolutions instead of halving the maps.
        in_channels: of the images.
    """

    def __init__(
        self,
        channels: Widths,
        blocks: Count | Widths,
        stem: Count | None,
        bottleneck: bool,
        output_stride: Stride,
        in_channels: Count,
    ) -> None:
        super().__init__()
        counts = per_stage(blocks, len(channels), "blocks")
        block = Bottleneck if bottleneck else BasicBlock
        before = stem or channels[0]
        self.stem = conv_unit(in_channels, before, stride=2)
        self.stages = nn.ModuleList()
        stride, rate, strides = 2, 1, []
        for inside, count in zip(channels, counts, strict=True):
            step = 2 if stride < output_stride else 1
            stride, rate = stride * step, rate if step == 2 else 2 * rate
            stage = nn.Sequential()
            for number in range(count):
                stage.append(block(before, inside, step if number == 0 else 1, "downsample"))
                before = inside * block.expansion
            self.stages.append(dilated(stage, rate))
            strides.append(stride)
        self.channels = tuple(inside * block.expansion for inside in channels)
        self.strides = tuple(strides)
        self.paths = [f"stages.{at}" for at in range(len(counts))]
        self.below = [f"stages.{at}.{count - 1}.relu{block.depth}:input" for at, count in enumerate(counts)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of each stage, after its last ReLU."""
        maps, seen = self.stem(images), []
        for stage in self.stages:
            maps = stage(maps)
            seen.append(maps)
        return seen


class InvertedTrunk(Trunk):
    """The inverted residuals of `limbeck.models.mobilenetv2`, with the strides of the paper, 32 in all.

    Args:
        multiplier: the channels are the paper's times it, rounded down.
        output_stride: at which stages dilate their convolutions instead of halving the maps.
        in_channels: of the images.
    """

    def __init__(self, multiplier: Positive, output_stride: Stride, in_channels: Count) -> None:
        super().__init__()
        before = max(int(32 * multiplier), 1)
        self.stem = conv_unit(in_channels, before, stride=2)
        self.blocks = nn.ModuleList()
        stride, rate = 2, 1
        ends: dict[int, tuple[int, int]] = {}
        for at, (expansion, width, count, _) in enumerate(STAGES):
            halves = at in _HALVING
            step = 2 if halves and stride < output_stride else 1
            stride, rate = stride * step, 2 * rate if halves and step == 1 else rate
            after, stage = max(int(width * multiplier), 1), nn.Sequential()
            for number in range(count):
                stage.append(InvertedResidual(before, after, 1 if number else step, expansion))
                before = after
            self.blocks.append(dilated(stage, rate))
            if at in _ENDS:
                ends[at] = after, stride
        self.channels = tuple(width for width, _ in ends.values())
        self.strides = tuple(stride for _, stride in ends.values())
        self.paths = self.below = [f"blocks.{at}" for at in ends]

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of the last stage at each size, which are linear."""
        maps, seen = self.stem(images), []
        for at, stage in enumerate(self.blocks):
            maps = stage(maps)
            if at in _ENDS:
                seen.append(maps)
        return seen


_HALVING = (1, 2, 3, 5)
"""Stages that halve the maps in the paper."""

_ENDS = (1, 2, 4, 6)
"""The last stages at each size."""


def dilated(module: nn.Sequential, rate: int) -> nn.Sequential:
    """A module whose 3x3 convolutions have a dilation, with padding that keeps what size they have."""
    for each in module.modules():
        if isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3):
            each.dilation = each.padding = (rate, rate)
    return module
