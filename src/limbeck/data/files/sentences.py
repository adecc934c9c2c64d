"""Sentences as lists of words with a tag each, and their tags as ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.data.files.labels import in_order
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED


@dataclass(frozen=True)
class Sentence:
    """Words, with a tag for each.

    Attributes:
        words: the words.
        tags: of each; None where one is not known, and for a sentence without tags.
        source: the file or split that it is from, for messages.
        line: line of the first word in a file with a word a line, from 1.
        row: row in a file with a sentence a row, from 1.
    """

    words: tuple[str, ...]
    tags: tuple[str | None, ...] | None
    source: str
    line: int = 0
    row: int = 0

    def place(self, word: int) -> str:
        """Where a word is, for messages."""
        if self.line:
            return f"line {self.line + word} of {self.source}"
        return f"word {word + 1} of row {self.row} of {self.source}"


def names_of(train: Sequence[Sentence], declared: Sequence[str], given: Sequence[str]) -> tuple[str, ...]:
    """The names of the tags: those given, or declared by the data, or those that the training sentences have.

    Raises:
        LimbeckError: for tags that have no names, or fewer than two.
    """
    known = tuple(given) or tuple(declared)
    known = known or in_order(tag for each in train for tag in each.tags or () if tag is not None)
    if len(known) == 1 and not given:
        raise LimbeckError(
            f"every word of {train[0].source} has the tag {known[0]!r}, and there should be 2 tags or more; "
            "name them, names=[...]"
        )
    return known


def tag_ids(
    sentences: Mapping[str, Sequence[Sentence]], names: Sequence[str], owner: str
) -> dict[str, list[list[int]]]:
    """The tags of each split's sentences as ids, `UNLABELED` where there is none.

    Args:
        sentences: those of each split.
        names: names of the tags.
        owner: what has these names, for messages.
    Raises:
        LimbeckError: for a tag that is none of these.
    """
    number: dict[str | None, int] = {None: UNLABELED, **{name: place for place, name in enumerate(names)}}
    made: dict[str, list[list[int]]] = {}
    for split, some in sentences.items():
        made[split] = []
        for each in some:
            tags = each.tags or (None,) * len(each.words)
            for word, tag in enumerate(tags):
                if tag not in number:
                    raise LimbeckError(
                        f"the tag {tag!r} in {each.place(word)} is none that {owner} has; name all tags, "
                        "names=[...], if it is right"
                    )
            made[split].append([number[tag] for tag in tags])
    return made


def padded(ids: Sequence[Sequence[int]]) -> Tensor:
    """(N, W) int64 tags of sentences, filled up with `UNLABELED` to the longest."""
    targets = torch.full((len(ids), max(map(len, ids))), UNLABELED)
    for row, each in enumerate(ids):
        targets[row, : len(each)] = torch.tensor(each)
    return targets
