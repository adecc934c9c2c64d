"""Where tokens end in what is learned of a text, and which tokens of two tokenizers cover the same bytes."""

from __future__ import annotations

from collections.abc import Container
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from limbeck.data.language.tokens import Ints, Tokens
from limbeck.retold import APART

Bools: TypeAlias = "npt.NDArray[np.bool_]"

_SPECIAL, _STRETCH = 10, 50
"""The bit of a place from which on it counts bytes, and from which on stretches."""


def places(tokens: Tokens, special: Container[int]) -> Ints:
    """(T,) where each token ends; tokens of two tokenizers with equal numbers end at the same byte.

    Counted are the bytes of what is learned, from the beginning of each stretch that is learned in one piece:
    prompts, and what a chat template puts between answers, may differ. Special tokens come one after the
    other behind the byte that they follow. What is not learned ends where the stretch before it does.

    Args:
        tokens: of a document.
        special: ids of special tokens, which stand for no bytes.
    """
    made, stretch, byte, after, inside = [], -1, 0, 0, False
    for token, learned, size in zip(
        tokens.ids.tolist(), tokens.learned.tolist(), tokens.bytes.tolist(), strict=True
    ):
        if learned and not inside:
            stretch, byte, after = stretch + 1, 0, 0
        if learned and size:
            byte, after = byte + size, 0
        elif learned and token in special:
            after += 1
        made.append((stretch << _STRETCH) + (byte << _SPECIAL) + after)
        inside = learned
    return np.array(made, dtype=np.int64)


def stretches(place: Ints) -> Ints:
    """(S, 2) the stretches of a document that are learned, and the bytes of each, by its `places`."""
    last = np.append(place[1:] >> _STRETCH != place[:-1] >> _STRETCH, True)
    ends = place[last & (place >= 0)]
    return np.stack([ends >> _STRETCH, (ends & ((1 << _STRETCH) - 1)) >> _SPECIAL], 1)


def spans(
    ours: tuple[Ints, Bools, Ints], theirs: tuple[Ints, Bools, Ints], first: int = 0
) -> tuple[Ints, Ints]:
    """The span of text that each token of two tokenizers belongs to: the shortest that both have tokens of.

    A span counts if all of it is predicted, and by both in one row: the first token of a document is not, and
    a row may begin within a span.

    Args:
        ours: of one tokenizer the places (T,), which tokens are learned, and the row that predicts each, or
            `APART`.
        theirs: the same of the other, (U,).
        first: the number of the first span.
    Returns: (T,) and (U,) numbers of spans, `APART` for a token that is in none.
    """
    common = np.intersect1d(ours[0][ours[1]], theirs[0][theirs[1]])
    sides = []
    least, most = np.full((2, len(common) + 1), APART), np.full((2, len(common) + 1), APART)
    for side, (place, learned, row) in enumerate((ours, theirs)):
        span = np.where(learned, np.searchsorted(common, place), len(common))
        least[side] = np.iinfo(np.int64).max
        np.minimum.at(least[side], span, row)
        np.maximum.at(most[side], span, row)
        sides.append(span)
    whole = (least[0] == most[0]) & (least[1] == most[1]) & (least[0] == least[1]) & (least[0] != APART)
    whole[-1] = False
    number = np.where(whole, first + whole.cumsum() - 1, APART)
    return number[sides[0]], number[sides[1]]
