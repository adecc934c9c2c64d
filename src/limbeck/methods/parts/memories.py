"""Memories of methods that compare a batch with more than itself; every process holds the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.methods.parts.blocks import unit


class Bank(nn.Module):
    """A vector for every training sample: the moving average of what a network made of it, at length 1.

    Args:
        samples: N, positions in the training set.
        dim: D.
        momentum: how much of a vector stays at each visit.
    """

    moves_alike = True
    """Whether each process changes its buffers alike, so that none has to be sent to the others."""
    rows: Tensor
    """(N, D); before the first visit random, uniform in +-sqrt(3 / D), which is about length 1."""

    def __init__(self, samples: int, dim: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("rows", (2 * torch.rand(samples, dim) - 1) * (3 / dim) ** 0.5)

    @torch.no_grad()
    def visit(self, index: Tensor, vectors: Tensor) -> None:
        """Moves the vectors of some samples; of a sample that occurs more than once, the last counts.

        Args:
            index: (B,) positions in the training set, of all processes.
            vectors: (B, D) of length 1, of the same samples.
        """
        moved = unit(self.rows[index].lerp(vectors, 1 - self.momentum))
        same = index[:, None] == index
        last = (same * torch.arange(len(index), device=index.device)).amax(1)
        self.rows.index_copy_(0, index, moved[last])  # equal rows for equal places: any order gives the same


class Queue(nn.Module):
    """The last vectors that came in.

    Args:
        size: K, how many.
        dim: D.
    """

    moves_alike = True
    rows: Tensor
    count: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, dim))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, vectors: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
        """What the queue holds once the vectors are in and as many of the oldest are out.

        Args:
            vectors: (B, D) of all processes, at most K.
            keep: whether the queue itself takes them in.
        Returns: (K, D), a copy, and (K,) true where a row has been filled.
        """
        size = len(self.rows)
        places = (self.count + torch.arange(len(vectors), device=vectors.device)) % size
        rows, count = self.rows.index_copy(0, places, vectors), self.count + len(vectors)
        if keep:
            self.rows.copy_(rows)
            self.count.copy_(count)
        return rows, torch.arange(size, device=vectors.device) < count
