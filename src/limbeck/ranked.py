"""Answers that tell the most probable tokens of a vocabulary, and of all others their sum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from limbeck.outputs import NEVER


@dataclass(frozen=True)
class Ranked:
    """Log-probabilities of rows, dense when they are asked for.

    Attributes:
        ids: (..., k) int64, the most probable tokens.
        logs: (..., k) their log-probabilities.
        tail: (..., 1) log-probability of all others together.
        width: V, the tokens there are.
        padded: whether an id may be V, which stands for none, where a row tells fewer than k tokens apart.
    """

    ids: Tensor
    logs: Tensor
    tail: Tensor
    width: int
    padded: bool = False

    def map(self, function: Callable[[Tensor], Tensor]) -> Ranked:
        """The answers with `function` applied to each tensor, such as a choice of rows."""
        return replace(self, ids=function(self.ids), logs=function(self.logs), tail=function(self.tail))

    def first(self, count: int) -> Ranked:
        """The answers with the `count` most probable of the tokens told; all where there are no more."""
        if count >= self.ids.shape[-1]:
            return self
        logs, places = self.logs.topk(count, -1)
        others = self.logs.scatter(-1, places, NEVER)
        tail = torch.cat([others, self.tail], -1).logsumexp(-1, keepdim=True)
        return replace(self, ids=self.ids.gather(-1, places), logs=logs, tail=tail)

    def pooled(self) -> Tensor:
        """(..., k + 1) log-probabilities of the tokens told and, in the last column, of all others."""
        return torch.cat([self.logs, self.tail], -1)

    def dense(self, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Logits (P, V) of some rows, and (P, V) bool, the tokens whose probabilities they tell.

        The probability of all others is spread evenly over them.
        """
        ids, logs, tail = self.ids[rows], self.logs[rows], self.tail[rows]
        if self.padded:
            return self._dense(ids, logs, tail)
        others = self.width - ids.shape[-1]
        spread = tail - math.log(others) if others else torch.full_like(tail, NEVER)
        logits = spread.repeat(1, self.width).scatter_(1, ids, logs)
        known = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, ids, True)
        return logits, known

    def _dense(self, ids: Tensor, logs: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """The same of rows that tell different numbers of tokens apart; the last column is for none."""
        others = self.width - (ids < self.width).sum(-1, keepdim=True)
        spread = torch.where(others > 0, tail - others.clamp(min=1).log(), NEVER)
        logits = spread.repeat(1, self.width + 1).scatter_(1, ids, logs)
        known = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, ids, True)
        return logits[:, : self.width], known[:, : self.width]
