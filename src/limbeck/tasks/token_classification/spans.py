"""From tags of words to entities, by the names of the tags.

What an entity is follows conlleval, the script of the shared tasks CoNLL-2000 to 2003, and the package
seqeval in its default mode, which read all schemes by one rule. An entity is right if its first word, its
last word and its type are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

SchemeName: TypeAlias = Literal["IOB", "BIOES", "BILOU", "IO", "words"]

OUTSIDE = "O"
"""The tag of a word that is in no entity."""

_PREFIXED = re.compile(r"([BIESLUM])-(.+)")
_BARE = frozenset("BIESLUM")
_OPENING, _CLOSING = frozenset("BSU"), frozenset("ESLU")


class Entities(NamedTuple):
    """The entities of a batch of sentences, by sentence and first word; (E,) int64 each.

    Attributes:
        place: a number for (sentence, first word, last word).
        sentence: number of the sentence in the batch.
        first: first word.
        last: last word.
        kind: number of the type.
    """

    place: Tensor
    sentence: Tensor
    first: Tensor
    last: Tensor
    kind: Tensor

    def code(self, kinds: int) -> Tensor:
        """(E,) a number for the place and the type."""
        return self.place * kinds + self.kind


class Scheme:
    """How tags become entities.

    - With a prefix, `B-PER`, `I-PER` (IOB1 and IOB2 alike), `E-` and `S-` (BIOES), `L-` and `U-` (BILOU), or
      `M-` (BMES, for `I-`): an entity begins at B, S or U, behind O, E, S, L or U, and where the type
      changes; it lasts until the next begins or O. So I behind O begins one too: right for IOB1, lenient for
      IOB2.
    - Without prefixes, where there is a tag O: an entity is a run of words with one tag (IO).
    - Without prefixes and without a tag O, as parts of speech have it: each word is an entity of its own, and
      the entity F1 is the token accuracy.

    Args:
        names: names of the tags, in the order of the logits.
    Attributes:
        name: "IOB", "BIOES", "BILOU", "IO" or, where each word is an entity, "words".
        types: names of the types of entities, in the order of the tags.
        outside: number of the tag O; that of no tag, `len(names)`, where there is none.
        none: number of no tag, which is outside too.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.none = len(names)
        self.outside = names.index(OUTSIDE) if OUTSIDE in names else self.none
        parts = [("O", "") if name == OUTSIDE else _parted(name) for name in names]
        prefixes = {prefix for prefix, _ in parts} - {"O"}
        self.name: SchemeName
        if "" in prefixes:
            self.name, prefix = ("IO", "I") if OUTSIDE in names else ("words", "S")
            parts = [("O", "") if name == OUTSIDE else (prefix, name) for name in names]
        elif prefixes & {"L", "U"}:
            self.name = "BILOU"
        else:
            self.name = "BIOES" if prefixes & {"E", "S"} else "IOB"
        self.types = tuple(dict.fromkeys(kind for prefix, kind in parts if prefix != "O"))
        number = {kind: place for place, kind in enumerate(self.types)}
        parts.append(("O", ""))
        self._kind = torch.tensor([-1 if prefix == "O" else number[kind] for prefix, kind in parts])
        self._opens = torch.tensor([prefix in _OPENING for prefix, _ in parts])
        self._closes = torch.tensor([prefix in _CLOSING for prefix, _ in parts])

    def entities(self, tags: Tensor) -> Entities:
        """The entities in some sentences.

        Args:
            tags: (B, W) int64 number of each word's tag, `none` where there is no word or none is known.
        """
        width = tags.shape[1]
        kind, before = self._kind[tags], F.pad(tags, (1, 0), value=self.none)[:, :width]
        inside = kind >= 0
        begins = inside & (self._opens[tags] | self._closes[before] | (kind != self._kind[before]))
        goes_on = F.pad(inside & ~begins, (0, 1), value=False)[:, 1:]
        sentence, first = begins.nonzero().unbind(1)
        last = (inside & ~goes_on).nonzero()[:, 1]
        return Entities(
            (sentence * width + first) * width + last, sentence, first, last, kind[sentence, first]
        )


def _parted(name: str) -> tuple[str, str]:
    """The prefix of a tag and the type behind it; no prefix for a tag that has none."""
    if name in _BARE:
        return name, "entity"
    match = _PREFIXED.fullmatch(name)
    return (match[1], match[2]) if match else ("", name)
