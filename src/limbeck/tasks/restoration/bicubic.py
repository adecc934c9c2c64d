"""Bicubic resizing as papers on super-resolution have it: that of Matlab's `imresize`.

The kernel is Keys' with a = -1/2 (IEEE Transactions on Acoustics, Speech, and Signal Processing 29, 1981).
Where an image shrinks it is stretched by as much, as a low-pass filter, and beyond its borders the image is
mirrored. Other libraries differ from it: by another a, without the filter, or at the borders.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

_SUPPORT = 4
"""Pixels that the kernel is wide."""


def resized_bicubic(images: Tensor, height: int, width: int) -> Tensor:
    """Images (..., H, W) at another size (..., height, width).

    Args:
        images: uint8, which come out rounded and clipped as uint8; or floats, of which nothing is clipped.
        height: rows, at least 1.
        width: columns, at least 1.
    """
    rows, columns = _weights(images.shape[-2], height), _weights(images.shape[-1], width)
    exact = images.double() if images.dtype == torch.uint8 else images
    found = rows.to(exact) @ exact @ columns.to(exact).T
    if images.dtype != torch.uint8:
        return found
    return (found + 0.5).floor().clamp(0, 255).to(torch.uint8)


@lru_cache(maxsize=64)
def _weights(before: int, after: int) -> Tensor:
    """(after, before) float64, the share of each pixel of a line in each of the resized line."""
    scale = after / before
    stretch = max(1.0, 1 / scale)
    middles = (torch.arange(after, dtype=torch.float64) + 0.5) / scale - 0.5
    count = math.ceil(_SUPPORT * stretch) + 2
    first = (middles - _SUPPORT * stretch / 2).floor()
    taps = first[:, None] + torch.arange(count)
    shares = _kernel((middles[:, None] - taps) / stretch)
    shares = shares / shares.sum(1, keepdim=True)
    period = taps.long() % (2 * before)  # the line and its mirror image, again and again
    places = period.where(period < before, 2 * before - 1 - period)
    return torch.zeros(after, before, dtype=torch.float64).scatter_add_(1, places, shares)


def _kernel(distance: Tensor) -> Tensor:
    x = distance.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
