"""Tokenizers of language models: learned from texts, from a folder, and whether two of them are one."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from limbeck.data.tokenization import Tokenization, digest_of, tokenization
from limbeck.optional import imported
from limbeck.pretrained import EXTRA

END = "<|endoftext|>"
"""The token 0 of a learned tokenizer: what begins, ends and pads."""

UNLIMITED = 1 << 20
"""Most tokens of a tokenizer that cuts nothing."""

PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    "  Two spaces,\ttabs\n\nand lines.\n",
    "def f(x: int) -> int:\n    return x**2 + 1  # a comment",
    "Größe, naïve, Ünïcödé; 3.14159, 1,000,000 and 2026-11-29",
    "Привет мир, Größe, 你好世界, こんにちは, مرحبا",
    "emoji 🙂👩‍🔬, zero\u200bwidth, \u00a0no-break",
)
"""Texts of which equal tokenizers make equal ids."""


def learned(texts: Iterable[str], vocab_size: int) -> Tokenization:
    """A byte-level BPE tokenizer that changes no text, the same for the same arguments.

    Args:
        texts: what to learn the vocabulary from.
        vocab_size: how many tokens to have at most, at least 257: 256 bytes, and one that begins and ends a
            document.
    """
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token"), END)
    tokenizer = imported("transformers", EXTRA).PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=UNLIMITED,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **special,
    )
    return Tokenization(
        place="the data", digest=digest_of(tokenizer), max_length=UNLIMITED, tokenizer=tokenizer
    )


@lru_cache(maxsize=8)
def of_place(place: str) -> Tokenization:
    """The tokenizer of a folder or a hub name, whatever network it belongs to."""
    return tokenization(place, UNLIMITED)


def vocabulary(tokens: Tokenization) -> int:
    """The ids that there are: one more than the largest."""
    return 1 + max(map(int, tokens.tokenizer.get_vocab().values()))


def special_ids(tokens: Tokenization) -> frozenset[int]:
    """The ids that stand for no bytes of a text, also those that the tokenizer names no use for."""
    added = tokens.tokenizer.added_tokens_decoder
    marked = (number for number, token in added.items() if token.special)
    return frozenset([*tokens.tokenizer.all_special_ids, *marked])


def differ(ours: Tokenization, theirs: Tokenization) -> str | None:
    """What shows that two tokenizers are not one; None if nothing does.

    They are one if they make the same ids of the probe texts, and agree on the token of every id that both
    have.
    """
    if ours.digest == theirs.digest:
        return None
    for text in PROBES:
        first, second = (_ids(each, text) for each in (ours, theirs))
        if first != second:
            pairs = enumerate(zip(first, second, strict=False))
            at = next((place for place, (one, other) in pairs if one != other), min(len(first), len(second)))
            return (
                f"of {text[:24]!r} one makes the ids {_some(first[at:])}, the other {_some(second[at:])}, "
                f"from token {at + 1} on"
            )
    both = [
        {number: token for token, number in each.tokenizer.get_vocab().items()} for each in (ours, theirs)
    ]
    for number in sorted(both[0].keys() & both[1].keys()):
        if both[0][number] != both[1][number]:
            return f"the id {number} is {both[0][number]!r} in one and {both[1][number]!r} in the other"
    return None


def _ids(tokens: Tokenization, text: str) -> list[int]:
    made: Any = tokens.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return list(made)


def _some(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:6])) + (", ..." if len(ids) > 6 else "")
