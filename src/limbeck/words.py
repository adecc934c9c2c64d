"""Words: sentences whose words a network reads as one token or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.errors import LimbeckError

LOST = -1
"""In `Words.first`, a word that the network does not read, and a place behind the last word."""


@dataclass(frozen=True, eq=False)
class Words(Mapping[str, Tensor]):
    """Tokens of sentences, and which of them are the first of a word.

    As a mapping it holds what a network is called with, and nothing else. The answer to a word is that of its
    first token, so that networks with different tokenizers answer the same words.

    Attributes:
        inputs: token ids at (B, L) positions and what goes with them, such as a mask.
        first: (B, W) int64 position of the first token of each word; `LOST` for a word that the network does
            not read, because it is cut off or has no token, and behind the last word of a sentence.
    """

    inputs: Mapping[str, Tensor]
    first: Tensor

    @property
    def read(self) -> Tensor:
        """(B, W) bool, the words that the network reads."""
        return self.first != LOST

    def of(self, answers: Tensor, whose: str) -> Tensor:
        """What is said of each word: (B, W, D) of (B, L, D); what stands at a lost word means nothing.

        Args:
            answers: what a network says of each token.
            whose: the network, for the message.
        Raises:
            LimbeckError: for an answer that is not of tokens.
        """
        length = next(iter(self.inputs.values())).shape[1]
        if answers.ndim != 3 or answers.shape[1] != length:
            raise LimbeckError(
                f"{whose} have the shape {tuple(answers.shape)} for sentences of {length} tokens, and "
                "labeling words takes an answer for each token, (B, L, ...); take a network that labels "
                "tokens"
            )
        places = self.first.clamp(min=0).unsqueeze(2).expand(-1, -1, answers.shape[2])
        return answers.gather(1, places)

    def map(self, function: Callable[[Tensor], Tensor]) -> Words:
        """The sentences with `function` applied to every tensor in them."""
        return Words({name: function(tensor) for name, tensor in self.inputs.items()}, function(self.first))

    @classmethod
    def joined(cls, parts: Sequence[Words]) -> Words:
        """Sentences of as many tokens and words one after the other."""
        names = parts[0].inputs
        return cls(
            {name: torch.cat([part[name] for part in parts]) for name in names},
            torch.cat([part.first for part in parts]),
        )

    def __getitem__(self, name: str) -> Tensor:
        return self.inputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.inputs)

    def __len__(self) -> int:
        return len(self.inputs)
