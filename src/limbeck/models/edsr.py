"""EDSR. Lim et al., CVPR Workshops 2017, arXiv:1707.02921; with the enlarged input added to its answer.

The paper's network has no such addition, which lets a network begin at what bilinear enlargement gives, as
VDSR's does (Kim et al., CVPR 2016, arXiv:1511.04587): `residual=false` leaves it out.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count, Positive
from limbeck.errors import LimbeckError

_STAGES = 3
"""Stages that the residual blocks are parted in, at most; one more is their end."""


class _Block(nn.Module):
    """Two convolutions beside the identity; (B, width, H, W) to the same shape."""

    def __init__(self, width: int, share: float) -> None:
        super().__init__()
        self.conv1, self.relu, self.conv2 = _conv(width, width), nn.ReLU(), _conv(width, width)
        self.share = share

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, with what the convolutions add."""
        return maps + self.share * self.conv2(self.relu(self.conv1(maps)))  # type: ignore[no-any-return]


class EDSR(nn.Module):
    """(B, in_channels, H, W) pixels in [0, 1] to (B, num_classes, scale * H, scale * W).

    Args:
        width: channels of the maps.
        depth: number of residual blocks.
        scale: factor of enlargement along each side, 1 to 4 or 8.
        block_scale: factor of what a block adds; the paper has 0.1 for 256 channels.
        residual: whether the input, enlarged bilinearly, is added to the answer, where it has as many
            channels.
    """

    def __init__(
        self,
        width: Count = 64,
        depth: Count = 16,
        scale: Count = 2,
        block_scale: Positive = 1.0,
        residual: bool = True,
        *,
        in_channels: Count,
        num_classes: Count,
    ) -> None:
        super().__init__()
        if scale not in (1, 2, 3, 4, 8):
            raise LimbeckError(f"edsr enlarges by 1, 2, 3, 4 or 8, not by {scale}")
        self.scale, self.residual = scale, residual and in_channels == num_classes
        self.conv1 = _conv(in_channels, width)
        self.body = nn.Sequential(*(_Block(width, block_scale) for _ in range(depth)))
        self.conv2 = _conv(width, width)
        self.trunk = nn.Identity()
        self.enlarge = nn.Sequential()
        for step in [scale] if scale in (2, 3) else [2] * (scale.bit_length() - 1):
            self.enlarge.extend([_conv(width, step * step * width), nn.PixelShuffle(step)])
        self.head = _conv(width, num_classes)
        if self.residual:
            nn.init.normal_(self.head.weight, std=1e-3)
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """The enlarged images; nothing keeps them in [0, 1]."""
        first = self.conv1(images)
        maps = self.trunk(first + self.conv2(self.body(first)))
        answer: Tensor = self.head(self.enlarge(maps))
        return answer + enlarged(images, self.scale) if self.residual else answer

    def feature_points(self) -> dict[str, str | list[str]]:
        """Three stages of residual blocks, or as many as there are, and the end of them all."""
        depth = len(self.body)
        ends = sorted({-(-depth * part // _STAGES) for part in range(1, _STAGES + 1)})
        return {
            "stem": "conv1",
            "stages": [*(f"body.{end - 1}" for end in ends), "trunk"],
            "embedding": "head:input",
        }


def enlarged(images: Tensor, scale: int) -> Tensor:
    """Images at `scale` times their size, bilinearly without aligned corners."""
    if scale == 1:
        return images
    size = scale * images.shape[2], scale * images.shape[3]
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def _conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)
