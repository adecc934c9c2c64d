"""LR-ASPP, a light head over residual blocks and MobileNetV2. Howard et al., ICCV 2019, arXiv:1905.02244.

It is that of section 6.4, Searching for MobileNetV3. The attention sees the mean of the whole image, as
in torchvision's form; the paper pools windows of 49 x 49.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, Positive
from limbeck.errors import LimbeckError
from limbeck.models.blocks import conv_unit
from limbeck.models.inputs import Widths
from limbeck.models.segmenter import Head, Segmenter
from limbeck.models.trunks import InvertedTrunk, ResidualTrunk, Trunk

_LOW = 8
"""Stride of the maps that fine detail is taken from, and of the logits."""


class LightHead(Head):
    """The last maps, weighted by channel, enlarged and joined with those at an eighth of the image.

    Logits are one 1x1 convolution of both, which is the sum of the two that the paper has.

    Args:
        trunk: what makes the maps.
        width: channels that the last maps are made into.
        num_classes: number of logits.
    """

    top, below = "unit", "unit.relu:input"

    def __init__(self, trunk: Trunk, width: int, num_classes: int) -> None:
        super().__init__()
        if trunk.strides[-1] <= _LOW or _LOW not in trunk.strides:
            raise LimbeckError(
                "lraspp joins maps at an eighth of the image with deeper ones, and its stages have the "
                f"strides {', '.join(map(str, trunk.strides))}; channels=[...] should name 3 stages at least"
            )
        self.low = len(trunk.strides) - 1 - trunk.strides[::-1].index(_LOW)
        before = trunk.channels[-1]
        self.unit = conv_unit(before, width, 1)
        self.attention = nn.Sequential(nn.Conv2d(before, width, 1, bias=False), nn.Sigmoid())
        self.logits = nn.Conv2d(width + trunk.channels[self.low], num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits at an eighth of the image."""
        high, low = maps[-1], maps[self.low]
        weighted = self.unit(high) * self.attention(high.mean((2, 3), keepdim=True))
        larger = F.interpolate(weighted, size=low.shape[2:], mode="bilinear", align_corners=False)
        return self.logits(torch.cat((larger, low), 1))  # type: ignore[no-any-return]


class LRASPP(Segmenter):
    """(B, in_channels, H, W) pixels to (B, num_classes, h, w) logits, h = H / 8 rounded up.

    Args:
        channels: number of channels of each stage; the first convolution and each stage halve the maps, until
            their stride is `output_stride`.
        blocks: number of blocks of each stage, or of all.
        stem: channels of the first convolution; those of the first stage unless given.
        bottleneck: blocks of three convolutions, which end with four times the stage's channels.
        output_stride: 16 or 32 pixels of the image for one position of the last maps.
        width: channels of the head.
        aux: whether an auxiliary head reads the last stage but one. The network then returns a dict, with the
            logits as `out` and those of this head as `aux`.
    """

    def __init__(
        self,
        channels: Widths = (16, 32, 64, 128),
        blocks: Count | Widths = 1,
        stem: Count | None = None,
        bottleneck: bool = False,
        output_stride: Literal[16, 32] = 16,
        width: Count = 64,
        aux: bool = False,
        *,
        in_channels: Count,
        num_classes: Count,
    ) -> None:
        trunk = ResidualTrunk(channels, blocks, stem, bottleneck, output_stride, in_channels)
        super().__init__(trunk, LightHead(trunk, width, num_classes), aux)


class MobileLRASPP(Segmenter):
    """(B, in_channels, H, W) pixels to (B, num_classes, h, w) logits, h = H / 8 rounded up.

    Args:
        multiplier: the channels of the stages are those of the paper of MobileNetV2 times it, rounded down.
        output_stride: 16 or 32 pixels of the image for one position of the last maps.
        width: channels of the head.
        aux: whether an auxiliary head reads the last stage but one, as that of `lraspp` does.
    """

    def __init__(
        self,
        multiplier: Positive = 0.5,
        output_stride: Literal[16, 32] = 16,
        width: Count = 64,
        aux: bool = False,
        *,
        in_channels: Count,
        num_classes: Count,
    ) -> None:
        trunk = InvertedTrunk(multiplier, output_stride, in_channels)
        super().__init__(trunk, LightHead(trunk, width, num_classes), aux)
