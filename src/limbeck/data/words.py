"""Where the words of a sentence are among its tokens, and tokenizers that cannot tell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.words import LOST


def first_tokens(word_ids: Sequence[Sequence[int | None]], counts: Sequence[int]) -> Tensor:
    """(N, W) int64 position of the first token of each word, `LOST` where there is none.

    Args:
        word_ids: for each sentence the number of the word that each token is of; None for special tokens.
        counts: how many words each sentence has; W is the largest.
    """
    first = torch.full((len(counts), max(counts)), LOST)
    for row, (ids, count) in enumerate(zip(word_ids, counts, strict=True)):
        places: dict[int, int] = {}
        for place, word in enumerate(ids):
            if word is not None:
                places.setdefault(word, place)
        first[row, :count] = torch.tensor([places.get(word, LOST) for word in range(count)])
    return first


def check_words(tokenizer: Any, place: str) -> None:
    """Refuses a tokenizer of `transformers` that cannot be given a sentence word by word.

    Args:
        tokenizer: the tokenizer.
        place: where it is from, for messages.
    Raises:
        LimbeckError: for one that is written in Python, and for a byte-level one that would glue words.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise LimbeckError(
            f"the tokenizer of {place} is written in Python and does not tell which tokens a word becomes; "
            "data of words needs one with a tokenizer.json"
        )
    if any(not each["add_prefix_space"] for each in _byte_levels(backend)):
        raise LimbeckError(
            f"the tokenizer of {place} takes a word without a space before it for the rest of the last; "
            f"write hf:{place}(add_prefix_space=true)"
        )


def space_before_words(tokenizer: Any, place: str) -> None:
    """Has a byte-level tokenizer see a space before every word.

    Raises:
        LimbeckError: for a tokenizer that is none.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not [*_byte_levels(backend)]:
        raise LimbeckError(
            f"the tokenizer of {place} is not of bytes, so add_prefix_space means nothing to it; leave it out"
        )
    state = json.loads(backend.to_str())
    for each in _parts(state["pre_tokenizer"]):
        if each["type"] == "ByteLevel":
            each["add_prefix_space"] = True
    backend.pre_tokenizer = Tokenizer.from_str(json.dumps(state)).pre_tokenizer


def lowercased(tokenizer: Any, place: str) -> None:
    """Has a tokenizer put a text in lower case before all else; one that does so already stays as it is.

    Raises:
        LimbeckError: for a tokenizer that is written in Python.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise LimbeckError(
            f"the folder {place!r} wants texts in lower case, and its tokenizer is written in Python, which "
            "is not followed; write a tokenizer.json there"
        )
    there = backend.normalizer
    if there is None or there.normalize_str("A") == "A":
        further = [] if there is None else [there]
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *further])


def _byte_levels(backend: Tokenizer) -> Iterator[dict[str, Any]]:
    """The byte-level parts of what a tokenizer does before it looks for tokens."""
    return (
        each for each in _parts(json.loads(backend.to_str())["pre_tokenizer"]) if each["type"] == "ByteLevel"
    )


def _parts(state: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if state is not None:
        yield state
        for each in state.get("pretokenizers", ()):
            yield from _parts(each)
