"""Windows of a padded image, and their mirror images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.data.views.policy import Views, images_in, maps_in, within
from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs


@dataclass(frozen=True)
class Crop(Views):
    """`crop(padding=4, flip=false)`: a window of the zero-padded image, of the image's own size.

    With s = 2 * padding + 1 places in each direction, view (flip * s + down) * s + right shows the window
    whose upper left corner lies `down` rows and `right` columns into the padded image, mirrored left to
    right where flip is 1. So there are s * s views, or twice as many with `flip`, and `base` is down =
    right = padding: a padding of 4 has 81, or 162, and base 40.

    Args:
        padding: rows and columns of zeros added on each side.
        flip: whether the mirrored windows are views too.
    """

    padding: int = 4
    flip: bool = False

    def __post_init__(self) -> None:
        if type(self.padding) is not int or self.padding < 0:
            raise LimbeckError(f"crop needs a padding of whole pixels, at least 0, not {self.padding!r}")
        if type(self.flip) is not bool:
            raise LimbeckError(f"crop needs flip=true or flip=false, not {self.flip!r}")

    @property
    def count(self) -> int:
        """How many windows there are."""
        return (2 * self.padding + 1) ** 2 * (1 + self.flip)

    @property
    def base(self) -> int:
        """The window in the middle."""
        return (2 * self.padding + 1) * self.padding + self.padding

    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """Cuts each image's window out; (B, C, H, W) of any dtype."""
        return self._windows(images_in(inputs, self), view, 0)

    def render_target(self, targets: Tensor, index: Tensor, view: Tensor, *, ignored: int) -> Tensor:
        """Cuts the same windows out of maps; the padding around them has the target `ignored`."""
        return self._windows(maps_in(targets, self)[:, None], view, ignored)[:, 0]

    def render_boxes(
        self, boxes: Tensor, size: tuple[int, int], index: Tensor, view: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        """The boxes in the same windows."""
        side, width = 2 * self.padding + 1, size[1]
        right, down = view % side, view // side % side
        x = boxes[..., 0::2] + (self.padding - right)[:, None, None]
        y = boxes[..., 1::2] + (self.padding - down)[:, None, None]
        x = torch.where((view // side**2 == 1)[:, None, None], width - x.flip(-1), x)
        return within(torch.stack([x, y], -1).flatten(-2), size), size

    def _windows(self, images: Tensor, view: Tensor, fill: int) -> Tensor:
        """The windows (B, C, H, W) of images that are padded with a value."""
        height, width = images.shape[2:]
        stride, side = width + 2 * self.padding, 2 * self.padding + 1
        column = torch.arange(width, device=images.device)
        row = stride * torch.arange(height, device=images.device)[:, None]
        window = torch.stack([row + column, row + column.flip(0)]).flatten(1)  # as it is, mirrored
        corner = view // side % side * stride + view % side
        position = window[view // side**2] + corner[:, None]
        padded = F.pad(images, [self.padding] * 4, value=fill).flatten(2)
        return padded.gather(2, position[:, None].expand(-1, images.shape[1], -1)).view_as(images)

    def __str__(self) -> str:
        return f"crop(padding={self.padding}{', flip=true' if self.flip else ''})"
