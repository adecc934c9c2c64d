"""The bytes of text that each token of a vocabulary stands for."""

from __future__ import annotations

import json
import re

import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from limbeck.data.language.tokenizer import special_ids, vocabulary
from limbeck.data.tokenization import Tokenization
from limbeck.errors import LimbeckError

SPACE = "▁"
"""What stands for a space in the tokens of SentencePiece."""

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def token_bytes(tokens: Tokenization) -> list[bytes]:
    """The bytes of each id; none for special tokens, and for ids without a token.

    Byte-level tokens and those of SentencePiece are known. A token of the latter that begins a text has the
    bytes of its space, too.

    Raises:
        LimbeckError: for a tokenizer of another kind, whose tokens do not tell the bytes of a text.
    """
    tokenizer = tokens.tokenizer
    decoder = json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"])
    known = tokenizer.get_vocab()
    if '"ByteLevel"' in decoder:
        letters = _letters()
    elif any(token.startswith(SPACE) for token in known):
        letters = {}
    else:
        raise LimbeckError(
            f"the tokenizer of {tokens.place} is neither byte-level nor of SentencePiece, so its tokens "
            "do not tell which bytes of a text they stand for"
        )
    special = special_ids(tokens)
    made = [b""] * vocabulary(tokens)
    for token, number in known.items():
        if number not in special:
            made[number] = _bytes(token, letters)
    return made


def common_tokens(ours: Tokenization, theirs: Tokenization) -> Tensor:
    """(2, M) int64 the ids of the tokens that stand for the same bytes in both, in the order of the first's.

    The tokens that end a text are the same in both, too. Of several tokens with the same bytes the one with
    the smallest id counts.

    Raises:
        LimbeckError: see `token_bytes`.
    """
    first, second = (_by_bytes(token_bytes(each)) for each in (ours, theirs))
    ends = tuple(each.tokenizer.eos_token_id for each in (ours, theirs))
    pairs = [(number, second[each]) for each, number in first.items() if each in second]
    pairs += [ends] if None not in ends else []
    return torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2).T.contiguous()


def _by_bytes(told: list[bytes]) -> dict[bytes, int]:
    """The smallest id for each bytes that some token stands for."""
    return {each: number for number, each in reversed([*enumerate(told)]) if each}


def _bytes(token: str, letters: dict[str, int]) -> bytes:
    if letters and all(letter in letters for letter in token):
        return bytes(letters[letter] for letter in token)
    if not letters and (match := _BYTE.fullmatch(token)):
        return bytes([int(match[1], 16)])
    return (token if letters else token.replace(SPACE, " ")).encode()


def _letters() -> dict[str, int]:
    """The byte that each letter of a byte-level token stands for, as GPT-2 has chosen them.

    Printable bytes of Latin-1 stand for themselves, and the others are numbered from 256 in their order.
    """
    plain = [byte for byte in range(256) if chr(byte) in ByteLevel.alphabet()]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{chr(byte): byte for byte in plain}, **{chr(256 + n): byte for n, byte in enumerate(others)}}
