"""U-Net. Ronneberger, Fischer & Brox, MICCAI 2015, arXiv:1505.04597; padded, with batch norm and resizing.

The paper's convolutions lose the border of an image, and its decoder enlarges maps by transposed
convolutions; here maps keep their size, and are enlarged bilinearly, so images of any size are taken.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, Limits
from limbeck.models.blocks import conv_unit, initialize
from limbeck.models.segmenter import auxiliary

Levels: TypeAlias = Annotated[Sequence[Count], Limits(min_length=2)]


def _block(before: int, width: int) -> nn.Sequential:
    """Two convolutions; (B, before, H, W) to (B, width, H, W)."""
    return nn.Sequential(OrderedDict(unit1=conv_unit(before, width), unit2=conv_unit(width, width)))


def _enlarged(maps: Tensor, like: Tensor) -> Tensor:
    """Maps of the height and width of others."""
    return F.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=False)


class UNet(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes, H, W) logits.

    Args:
        channels: number of channels of each level; every level but the first halves the maps, rounded up.
        aux: whether an auxiliary head reads the maps that enter the last level. The network then returns a
            dict, with the logits as `out` and those of this head, as large, as `aux`.
    """

    def __init__(
        self,
        channels: Levels = (16, 32, 64, 128),
        aux: bool = False,
        *,
        in_channels: Count,
        num_classes: Count,
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            _block(before, width) for before, width in zip((in_channels, *channels), channels, strict=False)
        )
        self.decoder = nn.ModuleList(
            _block(below + width, width)
            for below, width in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(channels[0], num_classes, 1)
        self.aux = auxiliary(channels[1], num_classes) if aux else None
        initialize(self)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Logits of the pixels, or those of both heads by name."""
        maps, levels = images, list[Tensor]()
        for number, block in enumerate(self.encoder):
            maps = block(F.max_pool2d(maps, 2, ceil_mode=True) if number else maps)
            levels.append(maps)
        for block, level in zip(self.decoder, reversed(levels[:-1]), strict=True):
            below, maps = maps, block(torch.cat((level, _enlarged(maps, level)), 1))
        logits: Tensor = self.head(maps)
        return logits if self.aux is None else {"out": logits, "aux": _enlarged(self.aux(below), logits)}

    def feature_points(self) -> dict[str, str | list[str]]:
        """The levels on the way down, without the first, and on the way up; each after its last ReLU."""
        stages = [f"encoder.{number}" for number in range(1, len(self.encoder))]
        stages += [f"decoder.{number}" for number in range(len(self.decoder))]
        return {
            "stem": "encoder.0",
            "stages": stages,
            "preactivations": [f"{stage}.unit2.relu:input" for stage in stages],
            "embedding": "head:input",
        }
