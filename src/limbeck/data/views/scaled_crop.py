"""Windows of an image that is enlarged or shrunk, as segmentation is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from limbeck.data.views.policy import Views, check_bank, images_in, maps_in, within
from limbeck.errors import LimbeckError
from limbeck.hashing import below
from limbeck.outputs import Inputs

_SALT = 0x736372  # no other hash of an index and a view starts with it
_ONE = 1024  # a scale of 1


class _Line(NamedTuple):
    """Where the pixels of a window are along one side, each (B, extent).

    Attributes:
        place: 256 times the place in the image, from the middle of its first pixel.
        inside: whether it is in the image.
    """

    place: Tensor
    inside: Tensor


@dataclass(frozen=True)
class ScaledCrop(Views):
    """`scaled_crop(height=128, width=128, low=0.5, high=2.0, flip=true, count=1048576)`: scale, then cut.

    An image is scaled by a factor between `low` and `high`, and a window of it is shown, as it is or
    mirrored. Where the scaled image is smaller than the window, zeros are around it, and pixels that do not
    count in maps. View 0 is the window in the middle at scale 1, not mirrored. Images are scaled bilinearly
    without a low-pass filter, maps by nearest neighbor; of uint8 images with whole numbers, so a view is the
    same to the bit on every device.

    Args:
        height: rows of the window.
        width: columns of the window.
        low: least factor, at least 0.1.
        high: largest factor, at most 10.
        flip: whether half of the windows are mirrored.
        count: how many views of an image there are.
    """

    height: int
    width: int
    low: float = 0.5
    high: float = 2.0
    flip: bool = True
    count: int = 2**20

    def __post_init__(self) -> None:
        if not all(type(side) is int and side >= 1 for side in (self.height, self.width)):
            raise LimbeckError(
                "scaled_crop needs a height and a width of whole pixels, at least 1, not "
                f"{self.height!r} and {self.width!r}"
            )
        if not 0.1 <= self.low <= self.high <= 10:
            raise LimbeckError(
                f"scaled_crop needs 0.1 <= low <= high <= 10, not low={self.low!r} and high={self.high!r}"
            )
        if type(self.flip) is not bool:
            raise LimbeckError(f"scaled_crop needs flip=true or flip=false, not {self.flip!r}")
        check_bank("scaled_crop", self.count)

    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """The windows (B, C, height, width) of images (B, C, H, W)."""
        images = images_in(inputs, self)
        rows, columns = self._lines(images, index, view)
        whole = images.dtype == torch.uint8
        numbers = images.int() if whole else images
        by_row = _between(numbers, rows.place, 2, whole=whole)
        shown = _between(by_row, columns.place, 3, whole=whole)
        if whole:
            shown = ((shown + 2**15) >> 16).to(torch.uint8)
        return shown.masked_fill(~_inside(rows, columns)[:, None], 0)

    def render_target(self, targets: Tensor, index: Tensor, view: Tensor, *, ignored: int) -> Tensor:
        """The same windows of maps (B, H, W)."""
        maps = maps_in(targets, self)
        rows, columns = self._lines(maps, index, view)
        down, right = (
            ((line.place + 128) >> 8).clamp(0, side - 1)
            for line, side in zip((rows, columns), maps.shape[1:], strict=True)
        )
        shown = _along(_along(maps, down, 1), right, 2)
        return shown.masked_fill(~_inside(rows, columns), ignored)

    def render_boxes(
        self, boxes: Tensor, size: tuple[int, int], index: Tensor, view: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        """The boxes in the same windows."""
        scale, flip = self._drawn(index, view)
        shown = self.height, self.width
        sides = zip((3, 2), (size[1], size[0]), (self.width, self.height), strict=True)
        first = [self._first(side, extent, scale, (_SALT, salt), index, view) for salt, side, extent in sides]
        moved = boxes * (scale / _ONE)[:, None, None] - torch.stack(first * 2, 1)[:, None]
        x = torch.where(flip[:, None, None], self.width - moved[..., 0::2].flip(-1), moved[..., 0::2])
        return within(torch.stack([x, moved[..., 1::2]], -1).flatten(-2), shown), shown

    def _drawn(self, index: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) factor of each window, in 1 / `_ONE`, and whether it is mirrored."""
        low, high = round(self.low * _ONE), round(self.high * _ONE)
        scale = low + below(high - low + 1, _SALT, 0, index, view)
        flip = (below(2, _SALT, 1, index, view) == 1) & (view != 0) & self.flip
        return scale.where(view != 0, _ONE), flip

    def _lines(self, images: Tensor, index: Tensor, view: Tensor) -> tuple[_Line, _Line]:
        """The rows and the columns of each window."""
        scale, flip = self._drawn(index, view)
        rows = self._line(images.shape[-2], self.height, scale, (_SALT, 2), index, view)
        columns = self._line(images.shape[-1], self.width, scale, (_SALT, 3), index, view)
        mirrored = _Line(*(each.where(~flip[:, None], each.flip(1)) for each in columns))
        return rows, mirrored

    def _line(
        self, side: int, extent: int, scale: Tensor, salt: tuple[int, int], index: Tensor, view: Tensor
    ) -> _Line:
        """Pixels along a side of an image that has `side` of them, in a window of `extent`."""
        first = self._first(side, extent, scale, salt, index, view)
        at = first[:, None] + torch.arange(extent, device=view.device)
        place = (2 * at + 1) * (128 * _ONE) // scale[:, None] - 128
        return _Line(place, (at >= 0) & (at < _scaled(side, scale)[:, None]))

    def _first(
        self, side: int, extent: int, scale: Tensor, salt: tuple[int, int], index: Tensor, view: Tensor
    ) -> Tensor:
        """(B,) pixel of the scaled image at which each window begins; below 0 where the image is smaller."""
        spare = _scaled(side, scale) - extent
        drawn = (below(2**31, *salt, index, view) % (spare.abs() + 1)) * spare.sign()
        return drawn.where(view != 0, spare // 2)

    def __str__(self) -> str:
        return (
            f"scaled_crop(height={self.height}, width={self.width}, low={self.low:g}, high={self.high:g}, "
            f"flip={str(self.flip).lower()}, count={self.count})"
        )


def _scaled(side: int, scale: Tensor) -> Tensor:
    """(B,) pixels that a side has in the scaled image."""
    return (side * scale + _ONE // 2) // _ONE


def _inside(rows: _Line, columns: _Line) -> Tensor:
    return rows.inside[:, :, None] & columns.inside[:, None, :]


def _along(tensor: Tensor, places: Tensor, axis: int) -> Tensor:
    """Some rows or columns of each sample: `places` (B, extent) along an axis of (B, ...)."""
    shape = [1] * tensor.ndim
    shape[0], shape[axis] = places.shape
    wanted = [*tensor.shape]
    wanted[axis] = places.shape[1]
    return tensor.gather(axis, places.view(shape).expand(wanted))


def _between(images: Tensor, place: Tensor, axis: int, *, whole: bool) -> Tensor:
    """Images (B, C, H, W) at places between their pixels along an axis; whole numbers come out times 256."""
    last = images.shape[axis] - 1
    before = (place >> 8).clamp(0, last)
    after = ((place >> 8) + 1).clamp(0, last)
    shape = [1] * images.ndim
    shape[0], shape[axis] = place.shape
    share = (place & 255).view(shape).to(images.dtype)
    first, second = _along(images, before, axis), _along(images, after, axis)
    if whole:
        return first * (256 - share) + second * share
    return torch.lerp(first, second, share / 256)
