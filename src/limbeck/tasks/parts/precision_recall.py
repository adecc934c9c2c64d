"""Precision and recall of yes-or-no decisions by a score, at every threshold."""

from __future__ import annotations

import torch
from torch import Tensor

POINTS = 100
"""Points of a curve that is kept."""


def precision_recall(scores: Tensor, applies: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Precision and recall where all scores from some value on are taken for yes.

    Rows with equal scores are decided together, so their order says nothing.

    Args:
        scores: (P,).
        applies: (P,) bool, at least one of them true.
    Returns: the distinct scores, falling, and the precision and recall from each of them on, (T,) float64.
    """
    ordered, order = scores.double().sort(descending=True, stable=True)
    right = applies[order].cumsum(0).double()
    last = torch.cat([ordered.diff() != 0, torch.ones(1, dtype=torch.bool)])
    taken = torch.arange(1, len(scores) + 1, dtype=torch.float64)
    return ordered[last], (right / taken)[last], (right / right[-1])[last]


def average_precision(scores: Tensor, applies: Tensor) -> float | None:
    """The mean of the precision over the steps of the recall, without interpolation.

    Args:
        scores: (P,).
        applies: (P,) bool.
    Returns: the area in [0, 1]; None where nothing applies.
    """
    if not applies.any():
        return None
    _, precision, recall = precision_recall(scores, applies)
    return float((precision * recall.diff(prepend=recall.new_zeros(1))).sum())


def best_threshold(probabilities: Tensor, applies: Tensor) -> float:
    """The threshold with the largest F1, half-way between the scores that it parts.

    Args:
        probabilities: (P,) in [0, 1]; those above the threshold are taken for yes.
        applies: (P,) bool.
    Returns: a number in [0, 1]; 0.5 where nothing applies.
    """
    if not applies.any():
        return 0.5
    scores, precision, recall = precision_recall(probabilities, applies)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=torch.finfo(torch.float64).tiny)
    place = int(f1.argmax())
    low = float(scores[place + 1]) if place + 1 < len(scores) else 0.0
    middle = (float(scores[place]) + low) / 2
    return middle if middle < float(scores[place]) else low


def curve(scores: Tensor, applies: Tensor) -> tuple[tuple[float, float], ...]:
    """Up to `POINTS` points (recall, precision) of the curve, by rising recall; none where nothing applies.

    Args:
        scores: (P,).
        applies: (P,) bool.
    """
    if not applies.any():
        return ()
    _, precision, recall = precision_recall(scores, applies)
    places = torch.linspace(0, len(recall) - 1, min(POINTS, len(recall))).round().long()
    return tuple(zip(recall[places].tolist(), precision[places].tolist(), strict=True))
