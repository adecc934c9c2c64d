"""Texts, with their tokens by each tokenizer that asks for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from limbeck.data.storage.base import Resident, digest
from limbeck.data.storage.many_texts import ManyTexts, Prompted
from limbeck.outputs import Inputs, apply, named
from limbeck.words import LOST, Words


@dataclass(frozen=True, eq=False)
class Ragged:
    """Sequences of different lengths, one after the other.

    Attributes:
        values: (T,) int64 of all sequences, by name: `input_ids`, `attention_mask` and what else a network
            is called with.
        starts: (N + 1,) int64 where each sequence starts in them, and where the last one ends.
        padding: what fills up a batch, by name.
        left: whether a sequence is filled up on its left.
        first: (N, W) int64 position in its sequence of the first token of each word, as `Words` have it; None
            for texts that are not parted in words.
    """

    values: Mapping[str, Tensor]
    starts: Tensor
    padding: Mapping[str, int]
    left: bool = False
    first: Tensor | None = None

    @property
    def lengths(self) -> Tensor:
        """(N,) int64."""
        return self.starts.diff()

    def batch(self, rows: Tensor) -> Mapping[str, Tensor]:
        """Some sequences, each filled up to the longest of them: (B, L) int64 by name, `Words` of words.

        Args:
            rows: (B,) int64 which sequences.
        """
        starts, lengths = self.starts[rows, None], self.lengths[rows, None]
        longest = max(1, int(lengths.max()))
        places = torch.arange(longest)
        if self.left:
            places = places - (longest - lengths)
        inside = (places >= 0) & (places < lengths)
        source = (starts + places).where(inside, 0)
        batch = {
            name: flat[source].masked_fill(~inside, self.padding[name]) for name, flat in self.values.items()
        }
        if self.first is None:
            return batch
        first = self.first[rows]
        return Words(batch, first + (longest - lengths) * (first != LOST) if self.left else first)


class Corpus:
    """The texts of a split and what tokenizers have made of them.

    Args:
        texts: all texts; `ManyTexts` stay where they are.
        ids: what the data calls each of them; none where it does not.
        words: the words of each text, for data that says what its words are.
        kinds: of what kind each of them is, such as "query", where the data says so.
    """

    def __init__(
        self,
        texts: Sequence[str],
        ids: Sequence[str] = (),
        *,
        words: Sequence[Sequence[str]] | None = None,
        kinds: Sequence[str] = (),
    ) -> None:
        self.texts = texts if isinstance(texts, ManyTexts) else tuple(texts)
        self.ids, self.kinds = tuple(ids), tuple(kinds)
        self.words = None if words is None else tuple(map(tuple, words))
        self._tokens: dict[str, Ragged] = {}

    def tokens(
        self,
        key: str,
        tokenize: Callable[[Sequence[str] | Sequence[Sequence[str]]], Ragged],
        prompts: Mapping[str, str] | None = None,
    ) -> Ragged:
        """The tokens of all texts, made when they are first asked for.

        Args:
            key: a name for the tokenizer and its settings.
            tokenize: a function that makes them, of texts or of the words of each.
            prompts: what is put before a text, by its kind.
        """
        if key not in self._tokens:
            self._tokens[key] = tokenize(
                self.with_prompts(prompts or {}) if self.words is None else self.words
            )
        return self._tokens[key]

    def with_prompts(self, prompts: Mapping[str, str]) -> Sequence[str]:
        """The texts, each behind the prompt of its kind.

        Args:
            prompts: by kind; a kind that is not there has none.
        """
        if not prompts or not self.kinds:
            return self.texts
        return Prompted(self.texts, self.kinds, prompts)

    @cached_property
    def documents(self) -> Tensor:
        """(N,) bool, which of the texts are documents."""
        return torch.tensor([kind == "document" for kind in self.kinds])

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of every text."""
        hasher = hashlib.sha256()
        for text in self.texts if self.words is None else chain.from_iterable(self.words):
            encoded = text.encode()
            hasher.update(f"{len(encoded)};".encode())
            hasher.update(encoded)
        if self.words is not None:
            hasher.update(f"words {[*map(len, self.words)]}".encode())
        return hasher.hexdigest()[:16]


@dataclass(frozen=True, eq=False, repr=False)
class Texts(Resident):
    """Texts as token ids of the data's own tokenizer, with the texts for networks that bring another.

    The inputs are `Words` where the data says what the words of a text are.

    Attributes:
        corpus: the texts.
        rows: (N,) int64 which of them these are; None for all.
    """

    corpus: Corpus = field(default_factory=lambda: Corpus(()))
    rows: Tensor | None = None

    def select(self, rows: Tensor) -> Texts:
        """Some of the texts."""
        kept = rows.cpu() if self.rows is None else self.rows[rows.cpu()]
        return replace(self, inputs=apply(lambda tensor: tensor[rows], self.inputs), rows=kept)

    def texts(self) -> list[str]:
        """The texts by position."""
        texts = self.corpus.texts
        return [*texts] if self.rows is None else [texts[row] for row in self.rows.tolist()]

    def ids(self) -> list[str]:
        """What the data calls the texts, by position; nothing where it does not."""
        ids = self.corpus.ids
        return [*ids] if self.rows is None or not ids else [ids[row] for row in self.rows.tolist()]

    def read(self, tokens: Ragged, index: Tensor) -> Inputs:
        """What a network with a tokenizer of its own is called with.

        Args:
            tokens: of the corpus.
            index: (B,) int64 positions of the samples.
        """
        device = self.device or next(iter(named(self.inputs).values())).device
        return apply(lambda tensor: tensor.to(device), tokens.batch(self.of_corpus(index)))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of every byte, and of where words begin."""
        first = {"first of a word": self.inputs.first} if isinstance(self.inputs, Words) else {}
        return digest({**named(self.inputs), **first})

    def lost_by(self, first: Tensor) -> float:
        """The share of the words that a network does not read.

        Args:
            first: (N, W) of these texts, see `Words.first`.
        """
        words = self.corpus.words or ()
        rows = self.of_corpus(torch.arange(len(first))).tolist()
        return 1 - int((first != LOST).sum()) / max(sum(len(words[row]) for row in rows), 1)

    def of_corpus(self, index: Tensor) -> Tensor:
        """Where the texts at some positions (B,) are in the corpus."""
        return index.cpu() if self.rows is None else self.rows[index.cpu()]
