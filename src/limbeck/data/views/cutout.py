"""Cutout. DeVries & Taylor, Improved Regularization of CNNs with Cutout, 2017, arXiv:1708.04552."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.data.views.policy import Views, check_bank, images_in
from limbeck.errors import LimbeckError
from limbeck.hashing import below
from limbeck.outputs import Inputs

_SALT = 0x637574  # no other hash of an index and a view starts with it


@dataclass(frozen=True)
class Cutout(Views):
    """`cutout(size=8, fill=128, count=1024)`: a square of the image is painted over.

    The middle of the square may be any pixel, so part of it may lie outside. View 0 has no square. Targets
    stay as they are: a map still says what is under the square, which the network learns to tell from around.

    Args:
        size: pixels a side of the square.
        fill: its color in every channel, 0 to 255. The paper fills with the mean of the data.
        count: how many views of an image there are.
    """

    size: int = 8
    fill: int = 128
    count: int = 1024

    def __post_init__(self) -> None:
        if type(self.size) is not int or self.size < 1:
            raise LimbeckError(f"cutout needs a size of whole pixels, at least 1, not {self.size!r}")
        if type(self.fill) is not int or not 0 <= self.fill <= 255:
            raise LimbeckError(f"cutout needs a fill between 0 and 255, not {self.fill!r}")
        check_bank("cutout", self.count)

    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """Paints the square over; (B, C, H, W) uint8, or floats in [0, 1]."""
        images = images_in(inputs, self)
        height, width = images.shape[2:]
        middle = below(height * width, _SALT, index, view)
        rows = self._hit(middle // width, height) & (view != 0)[:, None]
        columns = self._hit(middle % width, width)
        square = (rows[:, :, None] & columns[:, None, :])[:, None]
        return images.masked_fill(square, self.fill if images.dtype == torch.uint8 else self.fill / 255)

    def _hit(self, middle: Tensor, extent: int) -> Tensor:
        """(B, extent) which places the square has along one side."""
        from_start = torch.arange(extent, device=middle.device) - (middle - self.size // 2)[:, None]
        return (from_start >= 0) & (from_start < self.size)

    def __str__(self) -> str:
        return f"cutout(size={self.size}, fill={self.fill}, count={self.count})"
