"""Negatives: training samples of other classes, drawn without state, so that every process draws the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.hashing import mix
from limbeck.outputs import ABSENT, UNLABELED


class Negatives(nn.Module):
    """Draws samples of the training set that are of another class than a given one.

    A sample without a label is in a class by itself. All draws are of different samples, each equally likely.
    They are functions of their arguments: the same however a batch is split.

    Args:
        targets: (N,) int64 class ids by position, as in `DataFacts`.
    """

    order: Tensor
    """(M,) the positions of all samples, those of a class side by side."""
    first: Tensor
    """(N,) for each position, the place in `order` where its class begins; -1 where there is no sample."""
    count: Tensor
    """(N,) for each position, the number of samples of its class."""

    def __init__(self, targets: Tensor) -> None:
        super().__init__()
        present = (targets != ABSENT).nonzero().flatten()
        labels = targets[present]
        own = len(targets) + targets.max() + present  # a number that no other sample has
        labels = labels.where(labels != UNLABELED, own)
        _, classes, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
        first, count = targets.new_full(targets.shape, -1), torch.zeros_like(targets)
        first[present], count[present] = (sizes.cumsum(0) - sizes)[classes], sizes[classes]
        # Not in the state: they follow from the data.
        self.register_buffer("order", present[classes.argsort(stable=True)], persistent=False)
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("count", count, persistent=False)
        self.fewest = len(present) - int(sizes.max())
        """Samples of other classes that every sample has."""

    def __len__(self) -> int:
        """Samples in the training set."""
        return len(self.order)

    def of_each(self, index: Tensor, size: int, seed: Tensor) -> Tensor:
        """Negatives of each sample by itself.

        Args:
            index: (B,) positions.
            size: K, at most `fewest`.
            seed: 0-d int64; another one draws anew.
        Returns: (B, K) positions.
        """
        first, count = self.first[index, None], self.count[index, None]
        places = _spread(len(self) - count, size, mix(seed, index[:, None], _numbers(size + 1, index)))
        return self.order[places + count * (places >= first)]

    def for_all(self, size: int, seed: Tensor) -> Tensor:
        """(K,) positions of samples of any class, at most all of them."""
        count = torch.full((1, 1), len(self), device=seed.device)
        return self.order[_spread(count, size, mix(seed, -1, _numbers(size + 1, seed))[None])[0]]

    def differ(self, index: Tensor, others: Tensor) -> Tensor:
        """(B, K) whether the samples at (B,) and at (K,) positions are of different classes."""
        return self.first[index, None] != self.first[others]


def _spread(count: Tensor, size: int, words: Tensor) -> Tensor:
    """Different integers below `count`: one in each of `size` stretches of a ring that begins somewhere.

    Args:
        count: (B, 1), at least `size`.
        size: K.
        words: (B, K + 1) random 64 bits.
    Returns: (B, K).
    """
    ends = _numbers(size + 1, count) * count // size
    starts, lengths = ends[:, :-1], ends.diff(dim=1)
    places = starts + _below(lengths, words[:, :-1]) + _below(count, words[:, -1:])
    return places.where(places < count, places - count)


def _below(limit: Tensor, words: Tensor) -> Tensor:
    """Integers below a limit of less than 2^31, from the upper 31 of 64 random bits."""
    return (words >> 33 & 2**31 - 1) * limit >> 31


def _numbers(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device)
