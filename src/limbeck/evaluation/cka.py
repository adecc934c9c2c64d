"""Centered kernel alignment: whether two networks see the same samples as alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from limbeck.errors import LimbeckError

LEAST = 4
"""Samples that the unbiased estimate needs in a batch."""


def hsic(first: Tensor, second: Tensor) -> Tensor:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion.

    Song et al., JMLR 2012, Eq. 5; Nguyen et al. 2021, arXiv:2010.15327, Eq. 3.

    Args:
        first: (..., n, n) kernel matrices of n >= 4 samples.
        second: (..., n, n) kernel matrices of the same samples; leading axes broadcast.
    Returns: (...); may be below 0, as an unbiased estimate of 0 must.
    """
    n = first.shape[-1]
    if n < LEAST:
        raise LimbeckError(f"the unbiased HSIC needs at least {LEAST} samples, not {n}")
    off = 1 - torch.eye(n, dtype=first.dtype, device=first.device)
    first, second = first * off, second * off
    rows, others = first.sum(-1), second.sum(-1)
    trace = (first * second).sum((-1, -2))
    sums = rows.sum(-1) * others.sum(-1) / ((n - 1) * (n - 2))
    return (trace + sums - 2 / (n - 2) * (rows * others).sum(-1)) / (n * (n - 3))


class LinearCKA:
    """Linear CKA of every representation of one network with every one of another, batch by batch.

    The three HSICs are averaged over the batches before the ratio is taken (minibatch CKA of Nguyen et al.
    2021, arXiv:2010.15327), so the value does not depend on the size of the batches but for chance, and no
    batch has to hold the whole split. A batch counts by its samples, so that a small last one, whose estimate
    is rough, does not spoil the others; one of fewer than four adds nothing.
    """

    def __init__(self) -> None:
        self._cross = self._first = self._second = torch.zeros((), dtype=torch.float64)

    def add(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        """Adds a batch.

        Args:
            first: representations (B, ...) of B samples by one network, the same number in each call.
            second: those of the same samples by the other.
        """
        if not first or not second or len(first[0]) < LEAST:
            return
        size, ours, theirs = len(first[0]), _grams(first), _grams(second)
        self._cross = self._cross + size * hsic(ours[:, None], theirs[None])
        self._first = self._first + size * hsic(ours, ours)
        self._second = self._second + size * hsic(theirs, theirs)

    def values(self) -> Tensor | None:
        """(first, second) float64 in [-1, 1]; 1 for representations equal but for rotation and scale.

        NaN where a representation is the same for all samples; None if no batch added anything.
        """
        if self._cross.ndim == 0:
            return None
        return self._cross / (self._first[:, None] * self._second).sqrt()


def _grams(features: Sequence[Tensor]) -> Tensor:
    """(F, B, B) float64 linear kernels, on the CPU: not every accelerator has float64.

    HSIC is blind to a shift of the features; without their mean, the products keep their precision.
    """
    flat = [feature.float().flatten(1) for feature in features]
    centered = [feature - feature.mean(0) for feature in flat]
    return torch.stack([feature @ feature.T for feature in centered]).cpu().double()
