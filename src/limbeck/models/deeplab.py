"""DeepLabV3 over trunks of residual blocks and of MobileNetV2. Chen et al., 2017, arXiv:1706.05587.

A branch of the spatial pyramid that sees the mean of the whole image has no batch norm, so that a batch may
hold one image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from limbeck.arguments import Count, Positive
from limbeck.models.blocks import conv_unit
from limbeck.models.inputs import Widths
from limbeck.models.segmenter import Head, Segmenter
from limbeck.models.trunks import InvertedTrunk, ResidualTrunk, Stride, dilated


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling; (B, before, h, w) to (B, width, h, w).

    Args:
        before: channels of the input.
        width: channels of each branch, and of the output.
        rates: dilations of the branches that are 3x3 convolutions; one more is 1x1, and one the mean.
    """

    def __init__(self, before: int, width: int, rates: Widths) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_unit(before, width, 1)])
        for rate in rates:
            self.branches.append(dilated(conv_unit(before, width), rate))
        self.mean = nn.Sequential(nn.Conv2d(before, width, 1), nn.ReLU())
        self.project = conv_unit(width * (len(rates) + 2), width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """What the branches see, joined."""
        seen = [branch(maps) for branch in self.branches]
        mean = self.mean(maps.mean((2, 3), keepdim=True)).expand_as(seen[0])
        return self.project(torch.cat([*seen, mean], 1))  # type: ignore[no-any-return]


class PyramidHead(Head):
    """The pyramid over the last maps, a 3x3 convolution, and the logits.

    Args:
        before: channels of the last maps.
        width: channels of the pyramid.
        rates: dilations in the pyramid at an output stride of 16; at 8 they are doubled, and so on.
        output_stride: pixels of the image for one position of the last maps.
        num_classes: number of logits.
    """

    top, below = "aspp", "aspp.project.relu:input"

    def __init__(self, before: int, width: int, rates: Widths, output_stride: int, num_classes: int) -> None:
        super().__init__()
        self.aspp = ASPP(before, width, [max(1, 16 * each // output_stride) for each in rates])
        self.unit = conv_unit(width, width)
        self.logits = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits at the positions of the last maps."""
        return self.logits(self.unit(self.aspp(maps[-1])))  # type: ignore[no-any-return]


class DeepLab(Segmenter):
    """(B, in_channels, H, W) pixels to (B, num_classes, h, w) logits, h = H / output_stride rounded up.

    The first convolution and each stage halve the maps, until their stride is `output_stride`; later stages
    dilate their convolutions instead.

    Args:
        channels: number of channels of each stage.
        blocks: number of blocks of each stage, or of all.
        stem: channels of the first convolution; those of the first stage unless given.
        bottleneck: blocks of three convolutions, which end with four times the stage's channels.
        output_stride: 4, 8, 16 or 32 pixels of the image for one of the logits.
        width: channels of the pyramid.
        rates: dilations in the pyramid at an output stride of 16; at 8 they are doubled, and so on.
        aux: whether an auxiliary head reads the last stage but one. The network then returns a dict, with the
            logits as `out` and those of this head as `aux`.
    """

    def __init__(
        self,
        channels: Widths = (16, 32, 64, 128),
        blocks: Count | Widths = 1,
        stem: Count | None = None,
        bottleneck: bool = False,
        output_stride: Stride = 8,
        width: Count = 64,
        rates: Widths = (6, 12, 18),
        aux: bool = False,
        *,
        in_channels: Count,
        num_classes: Count,
    ) -> None:
        trunk = ResidualTrunk(channels, blocks, stem, bottleneck, output_stride, in_channels)
        head = PyramidHead(trunk.channels[-1], width, rates, output_stride, num_classes)
        super().__init__(trunk, head, aux)


class MobileDeepLab(Segmenter):
    """(B, in_channels, H, W) pixels to (B, num_classes, h, w) logits, h = H / output_stride rounded up.

    The stages are those of MobileNetV2 with the strides of its paper; where they would exceed
    `output_stride`, convolutions are dilated instead.

    Args:
        multiplier: the channels of the stages are the paper's times it, rounded down.
        output_stride: 4, 8, 16 or 32 pixels of the image for one of the logits.
        width: channels of the pyramid.
        rates: dilations in the pyramid at an output stride of 16; at 8 they are doubled, and so on.
        aux: whether an auxiliary head reads the last stage but one, as that of `deeplab` does.
    """

    def __init__(
        self,
        multiplier: Positive = 0.5,
        output_stride: Stride = 16,
        width: Count = 64,
        rates: Widths = (6, 12, 18),
        aux: bool = False,
        *,
        in_channels: Count,
        num_classes: Count,
    ) -> None:
        trunk = InvertedTrunk(multiplier, output_stride, in_channels)
        head = PyramidHead(trunk.channels[-1], width, rates, output_stride, num_classes)
        super().__init__(trunk, head, aux)
