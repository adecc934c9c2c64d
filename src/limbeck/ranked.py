"""Answers that tell the most probable tokens of a vocabulary, and of all others their sum."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

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
    """

    ids: Tensor
    logs: Tensor
    tail: Tensor
    width: int

    def map(self, function: Callable[[Tensor], Tensor]) -> Ranked:
        """The answers with `function` applied to each tensor, such as a choice of rows."""
        return Ranked(function(self.ids), function(self.logs), function(self.tail), self.width)

    def dense(self, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Logits (P, V) of some rows, and (P, V) bool, the tokens whose probabilities they tell.

        The probability of all others is spread evenly over them.
        """
        ids, logs, tail = self.ids[rows], self.logs[rows], self.tail[rows]
        others = self.width - ids.shape[-1]
        spread = tail - math.log(others) if others else torch.full_like(tail, NEVER)
        logits = spread.repeat(1, self.width).scatter_(1, ids, logs)
        known = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, ids, True)
        return logits, known
