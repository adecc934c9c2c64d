"""Images that are mixed with others, and the shares that each has."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.hashing import below


def cut_mixed(inputs: Tensor, partners: Tensor, share: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Images with a rectangle of their partners'; one for the batch, cut off at the images' borders.

    Args:
        inputs: (B, C, H, W).
        partners: (B, C, H, W).
        share: scalar in [0, 1], of the image that stays.
        row: scalar, the center of the rectangle.
        column: the same.
    """
    height, width = inputs.shape[2:]
    side: Tensor = (1 - share).sqrt()
    return partners.where(
        rectangle(inputs, row, column, (height * side).floor(), (width * side).floor()), inputs
    )


def rectangle(inputs: Tensor, row: Tensor, column: Tensor, high: Tensor | int, wide: Tensor | int) -> Tensor:
    """(H, W) true in a rectangle of a size around a center, as far as the images (B, C, H, W) reach."""
    rows, columns = (torch.arange(size, device=inputs.device) for size in inputs.shape[2:])
    return _near(rows, row, high).unsqueeze(1) & _near(columns, column, wide)


def _near(places: Tensor, center: Tensor, size: Tensor | int) -> Tensor:
    """True at the places that are in a span of a size around the center; an odd one has its extra cut off."""
    half = size // 2
    return (places >= center - half) & (places < center + half)


def beta(alpha: float, seed: Tensor, step: int) -> Tensor:
    """Scalar of a symmetric Beta distribution, by Johnk's method from a hash of seed and step.

    Args:
        alpha: both parameters of it, at most 1, for which at least every second of the trials succeeds.
        seed: scalar int64.
        step: number of the step.
    """
    trials = torch.arange(2 * 64, device=seed.device).view(2, 64)
    x, y = (((below(2**24, seed, step, 0, trials) + 0.5) / 2**24) ** (1 / alpha)).unbind()
    first = (x + y <= 1).int().argmax()  # of trials that may all fail, once in 2^64
    return x[first] / (x[first] + y[first])
