"""Scores that a meter keeps: all rows up to a bound, and beyond it a seeded sample of them."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.hashing import mix

BOUND = 2**24
"""Numbers kept of a network's scores, 64 MB: of 10 classes 1.6 million rows, of 1,000 classes 16,777."""


class Scores:
    """Rows of scores with their targets, in the order they came, in bounded memory.

    Every row is kept while they fit. Once they do not, those with the smallest hashes of (seed, number of the
    row) are, a uniform draw that does not depend on how the rows came in batches.

    Args:
        bound: numbers to keep at most, over all columns of the scores.
        seed: random seed of the draw.
    """

    def __init__(self, bound: int = BOUND, seed: int = 0) -> None:
        self._bound, self._seed = bound, seed
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []
        self._held = 0
        self.rows = 0

    @property
    def complete(self) -> bool:
        """Whether every row that came is kept."""
        return self._held == self.rows

    def add(self, scores: Tensor, targets: Tensor) -> None:
        """Takes in rows.

        Args:
            scores: (P, C), on any device; kept as float32 on the CPU.
            targets: (P, ...) of the same rows.
        """
        numbers = torch.arange(self.rows, self.rows + len(scores))
        self._parts.append((scores.float().cpu(), targets.cpu(), numbers))
        self.rows, self._held = self.rows + len(scores), self._held + len(scores)
        most = max(1, self._bound // max(1, scores.shape[1]))
        if self._held > 2 * most or (self._held > most and not self._parts[1:]):
            self._thin(most)

    def read(self) -> tuple[Tensor, Tensor]:
        """The kept scores (K, C) and their targets (K, ...), in the order they came."""
        if not self._parts:
            return torch.empty(0, 0), torch.empty(0)
        most = max(1, self._bound // max(1, self._parts[0][0].shape[1]))
        if self._held > most:
            self._thin(most)
        self._parts = [self._joined()]
        return self._parts[0][:2]

    def _joined(self) -> tuple[Tensor, Tensor, Tensor]:
        scores, targets, numbers = zip(*self._parts, strict=True)
        return torch.cat(scores), torch.cat(targets), torch.cat(numbers)

    def _thin(self, most: int) -> None:
        scores, targets, numbers = self._joined()
        order = (mix(self._seed, numbers) & 2**63 - 1).argsort(stable=True)[:most].sort().values
        self._parts = [(scores[order], targets[order], numbers[order])]
        self._held = len(order)
