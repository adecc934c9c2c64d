"""Sentences of words as batches: tokens, the first token of each word, and networks that label tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.outputs import UNLABELED, Batch, Progress
from limbeck.words import LOST, Words

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


class Tagger(nn.Module):
    """(B, L) token ids to (B, L, C) logits: an embedding, its neighbor's, and a linear layer."""

    def __init__(self, width: int, tags: int = len(TAGS), seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(20, width)
            self.mixing = nn.Linear(2 * width, width)
            self.head = nn.Linear(width, tags)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.embedding(input_ids) * mask.unsqueeze(2)
        states = self.mixing(torch.cat([states, states.roll(1, 1)], 2)).tanh()
        logits: Tensor = self.head(states)
        return logits

    @staticmethod
    def feature_points() -> dict[str, str | list[str]]:
        return {"embedding": "head:input", "stages": ["mixing"]}


COUNTS = (3, 1, 5, 2, 4, 2)
"""Words of each sentence."""


def words(
    pieces: int, *, tokens: int = 14, width: int = 5, most: int | None = None, left: bool = False
) -> Words:
    """Six sentences whose word i is 1 + i % pieces tokens, with one special token before.

    Args:
        pieces: how many tokens a word may be.
        tokens: L, at least what the longest sentence has.
        width: W.
        most: tokens of a sentence at most; words behind them are lost.
        left: padding stands on the left.
    """
    ids = torch.zeros(len(COUNTS), tokens, dtype=torch.int64)
    first = torch.full((len(COUNTS), width), LOST)
    for row, count in enumerate(COUNTS):
        made, places = [1], []
        for word in range(count):
            places.append(len(made))
            made += [2 + (7 * row + 3 * word + piece) % 18 for piece in range(1 + word % pieces)]
        made = made[: most or len(made)]
        start = tokens - len(made) if left else 0
        ids[row, start : start + len(made)] = torch.tensor(made)
        first[row, :count] = torch.tensor([start + place if place < len(made) else LOST for place in places])
    return Words({"input_ids": ids, "attention_mask": (ids > 0).long()}, first)


def targets(width: int = 5) -> Tensor:
    """(6, W) tags of their words; one of them is not known."""
    made = torch.full((len(COUNTS), width), UNLABELED)
    for row, count in enumerate(COUNTS):
        made[row, :count] = (torch.arange(count) + row) % len(TAGS)
    made[2, 1] = UNLABELED
    return made


def batch(pieces: int = 2, **settings: int) -> Batch:
    """The sentences with their tags, as the student reads them."""
    given = words(pieces, **settings)  # type: ignore[arg-type]
    known = targets(given.first.shape[1])
    return Batch(given, known, index=torch.arange(len(COUNTS)), progress=Progress(900, 30, 0.5))
