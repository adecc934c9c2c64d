"""Which box each place of a detector should find. Tian et al., FCOS, ICCV 2019, arXiv:1904.01355.

A place answers for a box if it lies near the middle of it, and if the box has about the size that the
place's level of the pyramid is for: the farthest of its sides is 4 to 8 strides away. The finest level has
all smaller boxes, the coarsest all larger ones. Of several boxes it is the smallest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck import boxes as geometry
from limbeck.outputs import UNLABELED

RADIUS = 1.5
"""Strides that a place may be away from the middle of its box, in x and in y."""

NEAR, FAR = 4, 8
"""Strides that the farthest side of a box is away from a place of its level."""


def assigned(places: Tensor, targets: Tensor, background: int) -> tuple[Tensor, Tensor]:
    """The class and the box of each place.

    Args:
        places: (L, 3) x, y and stride in pixels, of all levels.
        targets: (B, M, 5) boxes with their classes, -1 for none; NaN for an image whose boxes are not known.
        background: the class id of a place that has no box.
    Returns: (B, L) int64 class ids, `UNLABELED` where the boxes are not known; and (B, L, 4) boxes, NaN where
        there is none.
    """
    unknown = targets[..., 4].isnan().any(1)
    there = targets[..., 4] >= 0
    most = max(1, int(there.sum(1).max()))
    first = there.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    there = there.gather(1, first)
    kept = targets.gather(1, first[..., None].expand(-1, -1, 5))
    where, stride = places[:, None, :2], places[None, :, 2, None]

    box = kept[:, None, :, :4]  # (B, 1, M, 4)
    sides = torch.cat([where - box[..., :2], box[..., 2:] - where], -1)  # (B, L, M, 4)
    middle = (box[..., :2] + box[..., 2:]) / 2
    central = ((where - middle).abs() < RADIUS * stride[..., None]).all(-1)
    farthest = sides.amax(-1)
    least = torch.where(stride == stride.min(), 0.0, NEAR * stride)
    largest = torch.where(stride == stride.max(), torch.inf, FAR * stride)
    fits = (sides.amin(-1) > 0) & central & (farthest > least) & (farthest <= largest) & there[:, None]

    areas = geometry.area(kept[..., :4])[:, None].expand(fits.shape)
    smallest, which = areas.where(fits, torch.inf).min(-1)
    found = smallest < torch.inf
    classes = kept[..., 4].gather(1, which).where(found, background).long()
    chosen = kept[..., :4].gather(1, which[..., None].expand(-1, -1, 4))
    return (
        classes.masked_fill(unknown[:, None], UNLABELED),
        chosen.masked_fill(~found[..., None], torch.nan),
    )
