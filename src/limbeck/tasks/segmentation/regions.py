"""Where labels of pixels are hard: near the boundary of two classes, and in small regions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.optional import imported

BAND = 0.02
"""How far from a boundary a pixel is near it, as a share of the diagonal (Cheng et al., arXiv 2103.16562)."""

SMALL = 32**2
"""Pixels below which a region is small, as for COCO's objects."""


def near_boundaries(target: Tensor, ignored: int) -> Tensor:
    """The pixels that have one of another class near them, in the square of `reach` pixels to each side.

    Args:
        target: (H, W) class ids.
        ignored: the class id of a pixel that does not count, and makes no boundary.
    Returns: (H, W) bool, False where a pixel does not count.
    """
    side = 2 * reach(target) + 1
    valid, ids = target != ignored, target.float()
    highest = _largest(ids.where(valid, -math.inf), side)
    lowest = -_largest((-ids).where(valid, -math.inf), side)
    return valid & (highest != lowest)


def reach(target: Tensor) -> int:
    """The pixels from a boundary up to which one is near it, at least 1."""
    return max(1, round(BAND * math.hypot(*target.shape)))


def _largest(values: Tensor, side: int) -> Tensor:
    """(H, W) the largest value in the square around each pixel."""
    half = side // 2
    rows = F.max_pool2d(values[None], (side, 1), stride=1, padding=(half, 0))
    return F.max_pool2d(rows, (1, side), stride=1, padding=(0, half))[0]


def small_regions(target: Tensor, ignored: int) -> tuple[Tensor, int]:
    """The pixels of small regions: pixels of one class that touch at their sides, fewer than `SMALL`.

    Args:
        target: (H, W) class ids.
        ignored: the class id of a pixel that does not count.
    Returns: (H, W) bool, and how many regions these are.
    """
    ndimage = imported("scipy.ndimage", "run")
    ids = target.cpu()
    small, count = torch.zeros_like(ids, dtype=torch.bool), 0
    for each in ids.flatten().bincount().nonzero().flatten().tolist():
        if each == ignored:
            continue
        regions = torch.from_numpy(ndimage.label((ids == each).numpy())[0]).long()
        few = regions.flatten().bincount() < SMALL
        few[0] = False  # the rest of the image
        small |= few[regions]
        count += int(few.sum())
    return small.to(target.device), count
