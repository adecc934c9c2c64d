"""Windows of an image, turned and mirrored, as networks for super-resolution are trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.data.views.policy import Views, check_bank, images_in
from limbeck.errors import LimbeckError
from limbeck.hashing import below
from limbeck.outputs import Inputs

_SALT = 0x706174  # no other hash of an index and a view starts with it


@dataclass(frozen=True)
class Patch(Views):
    """`patch(height=48, width=48, scale=1, turn=true, count=1048576)`: a window, in one of eight ways.

    A window is shown as it is or mirrored, top to bottom and left to right, and, where it is a square, with
    rows and columns exchanged: together all turns by a right angle and their mirror images. Targets with
    `scale` pixels for one of the image, along a side, are cut and turned in the same way. View 0 is the
    window in the middle as it is. Nothing is ever computed of pixels, so a view is the same to the bit
    everywhere.

    Args:
        height: rows of the window.
        width: columns of the window.
        scale: pixels of the target for one of the image, along a side.
        turn: whether windows are mirrored and turned.
        count: how many views of an image there are.
    """

    height: int = 48
    width: int = 48
    scale: int = 1
    turn: bool = True
    count: int = 2**20

    def __post_init__(self) -> None:
        for name in ("height", "width", "scale"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise LimbeckError(f"patch needs a {name} that is a whole number, at least 1, not {value!r}")
        if type(self.turn) is not bool:
            raise LimbeckError(f"patch needs turn=true or turn=false, not {self.turn!r}")
        check_bank("patch", self.count)

    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """The windows (B, C, height, width) of images (B, C, H, W)."""
        return self._windows(images_in(inputs, self), 1, index, view)

    def render_target(self, targets: Tensor, index: Tensor, view: Tensor, *, ignored: int) -> Tensor:
        """The same windows of images (B, C, scale * H, scale * W), or of maps (B, scale * H, scale * W)."""
        if targets.ndim == 3:
            return self._windows(targets[:, None], self.scale, index, view)[:, 0]
        return self._windows(targets, self.scale, index, view)

    def _windows(self, images: Tensor, scale: int, index: Tensor, view: Tensor) -> Tensor:
        """The windows of images of which `scale` pixels count for one."""
        rows = self._line(images, 2, self.height, scale, index, view)
        columns = self._line(images, 3, self.width, scale, index, view)
        channels = torch.arange(images.shape[1], device=images.device)
        samples = torch.arange(len(images), device=images.device)
        shown = images[
            samples[:, None, None, None],
            channels[None, :, None, None],
            rows[:, None, :, None],
            columns[:, None, None, :],
        ]
        if not self.turn or self.height != self.width:
            return shown
        exchanged = self._drawn(2, 0, index, view) == 1
        return torch.where(exchanged[:, None, None, None], shown.transpose(2, 3), shown)

    def _line(
        self, images: Tensor, axis: int, extent: int, scale: int, index: Tensor, view: Tensor
    ) -> Tensor:
        """(B, scale * extent) the pixels of the windows along a side of the images."""
        spare = images.shape[axis] // scale - extent
        if spare < 0:
            raise LimbeckError(
                f'the views "{self}" show {self.height} x {self.width} pixels, and the images have '
                f"{images.shape[2] // scale} x {images.shape[3] // scale}; take smaller windows"
            )
        first = self._drawn(spare + 1, 2 * axis, index, view).where(view != 0, spare // 2)
        inside = torch.arange(scale * extent, device=images.device).expand(len(images), -1)
        if self.turn:
            mirrored = self._drawn(2, 2 * axis + 1, index, view) == 1
            inside = torch.where(mirrored[:, None], inside.flip(1), inside)
        return scale * first[:, None] + inside

    def _drawn(self, count: int, stream: int, index: Tensor, view: Tensor) -> Tensor:
        """(B,) a number below `count` for each sample; 0 in view 0."""
        return below(count, _SALT, stream, index, view).where(view != 0, 0)

    def __str__(self) -> str:
        return (
            f"patch(height={self.height}, width={self.width}, scale={self.scale}, "
            f"turn={str(self.turn).lower()}, count={self.count})"
        )
