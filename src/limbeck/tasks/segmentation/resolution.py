"""Maps of logits and of class ids at other resolutions than their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.outputs import Batch, named


def resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, C, h, w) of numbers as (B, C, H, W): bilinear, without aligned corners, as the field does."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


def nearest(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Class ids (B, H, W) as (B, h, w): that of the pixel at floor(i H / h), floor(j W / w).

    This is "nearest" of `torch.nn.functional.interpolate`, in whole numbers.
    """
    rows, columns = (
        torch.arange(new, device=labels.device) * old // new
        for new, old in zip(size, labels.shape[-2:], strict=True)
    )
    return labels[:, rows[:, None], columns]


def pixels_of(batch: Batch) -> tuple[int, int] | None:
    """Height and width of the images of a batch; None for inputs that are no images (B, C, H, W)."""
    images = next((tensor for tensor in named(batch.inputs).values() if tensor.ndim == 4), None)
    return None if images is None else (images.shape[2], images.shape[3])
