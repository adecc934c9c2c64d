"""Boxes (x1, y1, x2, y2) in pixels, x1 < x2 and y1 < y2: how much they overlap, and which to keep of many."""

from __future__ import annotations

import torch
from torch import Tensor

TOGETHER = 128
"""Boxes that `suppressed` compares with each other at a time."""


def area(boxes: Tensor) -> Tensor:
    """(...) area of boxes (..., 4); 0 for one that is turned inside out."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)


def overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """(...) area of the intersection and of the union of boxes (..., 4), which are broadcast."""
    x1, y1, x2, y2 = (
        choose(one, other)
        for choose, one, other in zip(
            (torch.maximum, torch.maximum, torch.minimum, torch.minimum),
            first.unbind(-1),
            second.unbind(-1),
            strict=True,
        )
    )
    both = (x2 - x1).clamp(min=0) * (y2 - y1).clamp(min=0)
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


def suppressed(
    boxes: Tensor, scores: Tensor, classes: Tensor, most_overlap: float, most: int | None = None
) -> Tensor:
    """Positions of the boxes that greedy suppression keeps, the highest score first.

    A box is left out if one that is kept, of its class and with a higher score (the first of equal ones), has
    a larger IoU with it than `most_overlap`.

    Args:
        boxes: (N, 4).
        scores: (N,).
        classes: (N,) int64.
        most_overlap: in [0, 1].
        most: how many are returned at most, those with the highest scores; None for all.
    Returns: (K,) int64.
    """

    def close(some: Tensor, others: Tensor) -> Tensor:
        overlaps = iou(boxes[some], boxes[others]) > most_overlap
        return overlaps & (classes[some][:, None] == classes[others][None])

    left = scores.argsort(descending=True, stable=True)
    kept = [left[:0]]
    while len(left) and (most is None or sum(map(len, kept)) < most):
        first, left = left[:TOGETHER], left[TOGETHER:]
        best = first[_greedy(close(first, first))]
        left = left[~close(best, left).any(0)]
        kept.append(best)
    return torch.cat(kept)[:most]


def _greedy(close: Tensor) -> Tensor:
    """(N,) which boxes are kept of some that are sorted, the best first, where (N, N) are too close."""
    rivals = close.triu(diagonal=1)  # [i, j]: i would leave j out
    kept = torch.ones(len(close), dtype=torch.bool, device=close.device)
    while True:  # what the first k rounds say of the first k boxes stays, so this ends
        again = ~(rivals & kept[:, None]).any(0)
        if bool((again == kept).all()):
            return kept
        kept = again
