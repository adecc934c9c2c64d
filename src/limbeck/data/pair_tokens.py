"""What a cross-encoder reads: a query and a document in one sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.data.tokenization import Tokenization

SIDES = "sides"
"""The name of the input that says of each token whose it is: 1 of the query, 2 of the document, 0 of none."""


@dataclass(frozen=True)
class PairTokens:
    """Makes sequences of pairs by a tokenizer; the longer text of a pair that is too long is cut first.

    Attributes:
        tokens: the tokenizer, and how long a sequence may be.
    """

    tokens: Tokenization

    def read(self, queries: Sequence[str], documents: Sequence[str]) -> dict[str, Tensor]:
        """The inputs of a network for some pairs, each (B, L) int64.

        Args:
            queries: B texts.
            documents: B texts.
        Returns: what the tokenizer makes, and `sides`: 1 for a token of the query, 2 for one of the document,
            0 for any other.
        """
        tokenizer = self.tokens.tokenizer
        found = tokenizer(
            [*queries],
            [*documents],
            truncation=True,
            max_length=self.tokens.max_length,
            padding=True,
            return_tensors="pt",
        )
        sides = [[0 if side is None else side + 1 for side in each.sequence_ids] for each in found.encodings]
        return {**{name: found[name] for name in found}, SIDES: torch.tensor(sides)}

    @property
    def key(self) -> str:
        """A text that differs where a network would read other inputs of the same texts."""
        return f"pairs by {self.tokens.digest}, at most {self.tokens.max_length}"
