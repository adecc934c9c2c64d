"""Token ids in memory, in rows of different lengths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limbeck.data.storage.base import Samples, digest
from limbeck.data.storage.texts import Ragged
from limbeck.outputs import Inputs

if TYPE_CHECKING:
    from limbeck.data.language.retelling import Documents
    from limbeck.data.tokenization import Tokenization

SCORES = 1 << 24
"""Scores that a network gives at once where it is measured."""


@dataclass(frozen=True, eq=False, repr=False)
class Sequences(Samples):
    """Rows of tokens; a batch is filled up to its longest row.

    Attributes:
        tokens: of all rows.
        sizes: (N,) int64 bytes of text that the targets of each row stand for.
        vocab_size: ids that there are.
        chosen: (M,) int64 which of the rows these are; None for all.
        device: where batches are handed out.
        documents: what the rows tell, for networks with another tokenizer; None where it is not known.
    """

    tokens: Ragged
    sizes: Tensor
    vocab_size: int
    chosen: Tensor | None = None
    device: torch.device | None = None
    documents: Documents | None = None

    def __len__(self) -> int:
        return len(self.sizes) if self.chosen is None else len(self.chosen)

    def take(self, index: Tensor, view: Tensor) -> Inputs:
        """The rows asked for, (B, L) int64 by name."""
        made = self.tokens.batch(self.rows(index))
        return {name: tensor.to(self.device or "cpu") for name, tensor in made.items()}

    def told_to(self, reads: Tokenization, rendered: Inputs, index: Tensor) -> Inputs:
        """The rows asked for as a network reads them.

        Args:
            reads: the tokenizer of the network.
            rendered: what `take` gives of them, which it reads if its tokenizer is the data's.
            index: (B,) int64 which rows.
        """
        told = None if self.documents is None else self.documents.retold(reads)
        if told is None:
            return rendered
        return told.batch(self.rows(index)).map(lambda tensor: tensor.to(self.device or "cpu"))

    def select(self, rows: Tensor) -> Sequences:
        """Some of the rows."""
        return replace(self, chosen=self.rows(rows))

    def to(self, device: torch.device | str) -> Sequences:
        """The same rows, of which batches are moved to another device."""
        return replace(self, device=torch.device(device))

    def bytes(self, index: Tensor) -> Tensor:
        """(B,) int64 bytes of text that the targets of each row stand for."""
        return self.sizes[self.rows(index)].to(self.device or "cpu")

    def lengths(self, index: Tensor) -> Tensor | None:
        """(B,) int64 tokens of each row; None where rows are packed, and so about as long."""
        return None if "position_ids" in self.tokens.values else self.tokens.lengths[self.rows(index)]

    @property
    def at_once(self) -> int:
        """Rows of which a network's scores for all ids are no more than `SCORES`."""
        longest = int(self.tokens.lengths.max())
        return max(1, SCORES // (longest * self.vocab_size))

    @property
    def workers(self) -> int:
        """One where batches are moved, so that the next is on its way while one is worked on."""
        return 0 if self.device is None or self.device.type == "cpu" else 1

    @cached_property
    def fingerprint(self) -> str:
        """A digest of every token."""
        chosen = torch.arange(len(self)) if self.chosen is None else self.chosen
        return digest({**self.tokens.values, "starts": self.tokens.starts, "chosen": chosen})

    def rows(self, index: Tensor) -> Tensor:
        """(B,) int64 where the rows at some positions are among all."""
        return index.cpu() if self.chosen is None else self.chosen[index.cpu()]
