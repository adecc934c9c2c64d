"""Boxes (x1, y1, x2, y2) in pixels, x1 < x2 and y1 < y2: how much they overlap, and which to keep of many."""

from __future__ import annotations

import torch
from torch import Tensor


def area(boxes: Tensor) -> Tensor:
    """(...) area of boxes (..., 4); 0 for one that is turned inside out."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """(...) area of the intersection and of the union of boxes (..., 4), which are broadcast."""
    corners = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    both = (corners[1] - corners[0]).clamp(min=0).prod(-1)
    return both, area(first) + area(second) - both


def iou(first: Tensor, second: Tensor) -> Tensor:
    """(N, M) intersection over union of each of the boxes (N, 4) with each of (M, 4); 0 where both have no
    area."""
    both, either = overlap(first[:, None], second[None])
    return torch.where(either > 0, both / either, 0.0)


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """(...) generalized intersection over union in (-1, 1] of boxes (..., 4).

    Rezatofighi et al., CVPR 2019, arXiv:1902.09630: the IoU, less the share of the smallest box around both
    that is in neither.
    """
    both, either = overlap(first, second)
    low, high = torch.minimum(first[..., :2], second[..., :2]), torch.maximum(first[..., 2:], second[..., 2:])
    around = (high - low).prod(-1)
    tiny = torch.finfo(first.dtype).tiny
    return both / either.clamp(min=tiny) - (around - either) / around.clamp(min=tiny)


def suppressed(boxes: Tensor, scores: Tensor, classes: Tensor, most_overlap: float) -> Tensor:
    """Positions of the boxes that greedy suppression keeps, the highest score first.

    A box is left out if one that is kept, of its class and with a higher score (the first of equal ones), has
    a larger IoU with it than `most_overlap`.

    Args:
        boxes: (N, 4).
        scores: (N,).
        classes: (N,) int64.
        most_overlap: in [0, 1].
    Returns: (K,) int64.
    """
    order = scores.argsort(descending=True, stable=True)
    boxes, classes = boxes[order], classes[order]
    rivals = (iou(boxes, boxes) > most_overlap) & (classes[:, None] == classes[None])
    rivals = rivals.triu(diagonal=1)  # [i, j]: i would leave j out
    kept = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    while True:  # what the first k rounds say of the first k boxes stays, so this ends
        again = ~(rivals & kept[:, None]).any(0)
        if bool((again == kept).all()):
            return order[kept]
        kept = again
