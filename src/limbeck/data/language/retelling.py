"""Rows of tokens in another tokenizer: the same stretches of the same texts, and what goes with what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from limbeck.data.language.blocks import Blocks, laid_out
from limbeck.data.language.forms import Chat, Document
from limbeck.data.language.token_bytes import common_tokens
from limbeck.data.language.token_places import places, spans, stretches
from limbeck.data.language.tokenizer import differ, vocabulary
from limbeck.data.language.tokens import Encoder, Ints, Tokens
from limbeck.data.source import Source
from limbeck.data.split import Split
from limbeck.data.storage.sequences import Sequences
from limbeck.data.storage.texts import Ragged
from limbeck.data.tokenization import Tokenization
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED
from limbeck.retold import APART, Retold, Vocabulary
from limbeck.tasks import Language


@dataclass(frozen=True, eq=False)
class Retelling:
    """The rows of a split in another tokenizer.

    Attributes:
        tokens: of each row what a network reads, and its `targets` and `spans` (see `Retold`).
        beside: of each row the `own_spans` and `pairs` at the positions of the data's own tokens.
        bytes: (N,) int64 bytes of text that the targets of each row stand for.
        vocabulary: of the other tokenizer.
    """

    tokens: Ragged
    beside: Ragged
    bytes: Tensor
    vocabulary: Vocabulary

    def batch(self, rows: Tensor) -> Retold:
        """Some of the rows.

        Args:
            rows: (B,) int64.
        """
        theirs, ours = dict(self.tokens.batch(rows)), self.beside.batch(rows)
        targets, numbers = theirs.pop("targets"), theirs.pop("spans")
        return Retold(theirs, targets, numbers, ours["own_spans"], ours["pairs"], self.vocabulary)


class Documents:
    """The documents of a split, to be told in other tokens.

    Args:
        documents: all of them.
        encoder: what has made tokens of them.
        made: the rows of these.
        size: most positions of a row.
        whole: whether a document is in one row, where it is cut if it is longer.
    """

    def __init__(
        self, documents: Sequence[Document], encoder: Encoder, made: Blocks, size: int, *, whole: bool
    ) -> None:
        self._documents = [documents[each] for each in made.order]
        self._encoder, self._made, self._most = encoder, made, size + 1 if whole else None
        self._known: dict[str, Retelling | None] = {}

    def retold(self, reads: Tokenization) -> Retelling | None:
        """The rows in the tokens of another tokenizer, made when they are first asked for; None for the same.

        Raises:
            LimbeckError: for chats of which the templates of the two have other texts learned.
        """
        if reads.digest not in self._known:
            other = differ(reads, self._encoder.tokens) is not None
            self._known[reads.digest] = self._told(reads) if other else None
        return self._known[reads.digest]

    def _told(self, reads: Tokenization) -> Retelling:
        encoder = self._encoder.of(reads)
        both = zip(self._encoder(self._documents), encoder(self._documents), strict=True)
        pairs = [
            (_Side(ours, places(ours, self._encoder.special)), _Side(theirs, places(theirs, encoder.special)))
            for ours, theirs in both
        ]
        for document, (ours, theirs) in zip(self._documents, pairs, strict=True):
            chat = isinstance(document, Chat) or self._encoder.chat
            if chat and not np.array_equal(stretches(ours.place), stretches(theirs.place)):
                raise LimbeckError(
                    f"the chat templates of {self._encoder.tokens.place} and {reads.place} have other texts "
                    "of a chat learned, so their tokens cannot be aligned; give prompts with responses and "
                    "chat=false, or a teacher with the template of the student"
                )
        return _retelling(
            [(ours.upto(self._most), theirs) for ours, theirs in pairs],
            self._made,
            self._encoder.tokens,
            reads,
        )


@dataclass(frozen=True)
class _Side:
    """A document in the tokens of one tokenizer, and where they end (see `places`)."""

    tokens: Tokens
    place: Ints

    def upto(self, most: int | None) -> _Side:
        """The first tokens; all for None."""
        return _Side(
            Tokens(self.tokens.ids[:most], self.tokens.learned[:most], self.tokens.bytes[:most]),
            self.place[:most],
        )


def _retelling(
    pairs: Sequence[tuple[_Side, _Side]], made: Blocks, own: Tokenization, reads: Tokenization
) -> Retelling:
    """The rows of the second tokens of some documents, which tell what those of the first ones do."""
    row = np.repeat(np.arange(len(made.targets)), made.tokens.lengths.numpy())
    kept, rows, numbers, first, begun = [], [], [], 0, 0
    for ours, theirs in pairs:
        of_ours = row[begun : begun + len(ours.place) - 1]
        begun += len(of_ours)
        # A token is predicted in the row that tells the byte it ends with, and none of what was cut is.
        of_theirs = np.append(of_ours, APART)[np.searchsorted(ours.place[1:], theirs.place[1:])]
        count = 1 + int((of_theirs != APART).sum())
        theirs, of_theirs = theirs.upto(count), of_theirs[: count - 1]
        one, other = spans(
            (ours.place, ours.tokens.learned, np.insert(of_ours, 0, APART)),
            (theirs.place, theirs.tokens.learned, np.insert(of_theirs, 0, APART)),
            first,
        )
        first = max(first, int(one.max()) + 1)
        kept.append(theirs.tokens)
        rows.append(of_theirs)
        numbers.append((one[1:], other[1:]))
    packed = "position_ids" in made.tokens.values
    padding = reads.tokenizer.pad_token_id or 0
    laid = laid_out(kept, np.concatenate(rows), len(made.targets), padding, pack=packed)
    own_spans, their_spans = (np.concatenate(each) for each in zip(*numbers, strict=True))
    place = _same_place(
        _numbered([side.tokens for side, _ in pairs], row), _numbered(kept, np.concatenate(rows))
    )
    starts = laid.tokens.starts.numpy()
    return Retelling(
        Ragged(
            {**laid.tokens.values, "targets": laid.targets, "spans": torch.from_numpy(their_spans)},
            laid.tokens.starts,
            {**laid.tokens.padding, "targets": UNLABELED, "spans": APART},
        ),
        Ragged(
            {
                "own_spans": torch.from_numpy(own_spans),
                "pairs": torch.from_numpy(np.where(place == APART, APART, place - starts[row])),
            },
            made.tokens.starts,
            {"own_spans": APART, "pairs": APART},
        ),
        laid.bytes,
        Vocabulary(
            Language(vocabulary(reads), reads.tokenizer.eos_token_id), partial(common_tokens, own, reads)
        ),
    )


def _numbered(documents: Sequence[Tokens], row: Ints) -> Ints:
    """(T, 3) of each position its document, its row, and its number among what is learned of that document in
    that row, which is `APART` where nothing is."""
    document = np.repeat(np.arange(len(documents)), [len(each) - 1 for each in documents])
    learned = np.concatenate([each.learned[1:] for each in documents])
    _, stretch = np.unique(np.stack([document, row]), axis=1, return_inverse=True)
    stretch = stretch.reshape(-1)  # numpy 2.0 gives it a second dimension
    before = learned.cumsum() - learned
    first = np.full(stretch.max() + 1, len(row))
    np.minimum.at(first, stretch, np.arange(len(row)))
    return np.stack([document, row, np.where(learned, before - before[first[stretch]], APART)], 1)


def _same_place(ours: Ints, theirs: Ints) -> Ints:
    """(T,) the position among theirs (U, 3) with the numbers that each of ours (T, 3) has, or `APART`."""
    known = {tuple(numbers): place for place, numbers in enumerate(theirs.tolist()) if numbers[2] != APART}
    return np.array([known.get(tuple(numbers), APART) for numbers in ours.tolist()], dtype=np.int64)


def in_tokens(source: Source, reads: Tokenization) -> Source | None:
    """The data as a network with another tokenizer reads it; None where its tokenizer is the data's.

    Its rows are the same stretches of the same texts, and nothing is there to be continued.
    """
    train, validation, test = (
        None if split is None else _split_in(split, reads)
        for split in (source.train, source.validation, source.test)
    )
    if train is None:
        return None
    task = Language(vocabulary(reads), reads.tokenizer.eos_token_id)
    return replace(
        source,
        train=train,
        validation=validation,
        test=test,
        task=task,
        tokens=reads,
        prompts=(),
        facts={"vocab_size": task.width},
    )


def _split_in(split: Split, reads: Tokenization) -> Split | None:
    samples = split.samples
    assert isinstance(samples, Sequences)
    told = None if samples.documents is None else samples.documents.retold(reads)
    if told is None:
        return None
    rows = samples.rows(torch.arange(len(samples)))
    given = {name: flat for name, flat in told.tokens.values.items() if name not in ("targets", "spans")}
    width = told.vocabulary.task.width
    sequences = Sequences(replace(told.tokens, values=given), told.bytes, width, rows, samples.device)
    return replace(split, samples=sequences, targets=told.tokens.batch(rows)["targets"][split.index])
