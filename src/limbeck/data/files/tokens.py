"""From texts to token ids, by a tokenizer that is trained on the training split."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from limbeck.data.words import first_tokens
from limbeck.words import Words

PADDING = "[PAD]"
"""The token 0."""

LEAST_VOCABULARY = 257
"""256 bytes, of which any text can be made, and the padding."""


def train_tokenizer(texts: Sequence[str], vocab_size: int, max_length: int, lowercase: bool) -> Tokenizer:
    """A byte-level BPE tokenizer, the same for the same arguments.

    It pads and truncates every text to the length of the longest of `texts`, at most `max_length` tokens.

    Args:
        texts: what to learn the vocabulary from.
        vocab_size: how many tokens to have at most; a pair of tokens that comes once is never merged.
        max_length: tokens a text at most.
        lowercase: whether capitals are the same as small letters.
    """
    tokenizer = Tokenizer(models.BPE())  # WordPiece, as trained here, differs from one time to the next
    tokenizer.normalizer = normalizer(lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    _cut_and_pad(tokenizer, min(max_length, max(map(len, tokenizer.encode_batch(list(texts))))))
    return tokenizer


def fit_words(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]], max_length: int) -> None:
    """Has a tokenizer pad and truncate to the longest of some sentences, so that none of them loses a word.

    Args:
        tokenizer: the tokenizer, which is changed.
        sentences: the words of each.
        max_length: how many tokens a sentence has at most.
    """
    tokenizer.no_truncation()
    tokenizer.no_padding()
    encodings = tokenizer.encode_batch([[*words] for words in sentences], is_pretokenized=True)
    _cut_and_pad(tokenizer, min(max_length, max(map(len, encodings))))


def _cut_and_pad(tokenizer: Tokenizer, length: int) -> None:
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=0, pad_token=PADDING)


def normalizer(lowercase: bool) -> normalizers.Normalizer:
    """What makes texts alike that have the same tokens: one form of each letter, and single spaces."""
    case = [normalizers.Lowercase()] if lowercase else []
    return normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip(), *case]
    )


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, Tensor]:
    """What a network is called with for some texts.

    Args:
        tokenizer: tokenizer of a source, or of a run: `tokenizers.Tokenizer.from_file("RUN/tokenizer.json")`.
    Returns: `input_ids` (N, L) and `attention_mask` (N, L), 1 where there is a token; both int64.
    """
    encodings = tokenizer.encode_batch(list(texts))
    return {
        "input_ids": torch.tensor([encoding.ids for encoding in encodings]),
        "attention_mask": torch.tensor([encoding.attention_mask for encoding in encodings]),
    }


def encode_words(tokenizer: Tokenizer, sentences: Sequence[Sequence[str]]) -> Words:
    """What a network is called with for some sentences that are parted in words.

    Args:
        tokenizer: tokenizer of a source, or of a run: `tokenizers.Tokenizer.from_file("RUN/tokenizer.json")`.
        sentences: the words of each.
    Returns: `input_ids` (N, L) and `attention_mask` (N, L), with the position of each word's first token.
    """
    encodings = tokenizer.encode_batch([[*words] for words in sentences], is_pretokenized=True)
    return Words(
        {
            "input_ids": torch.tensor([encoding.ids for encoding in encodings]),
            "attention_mask": torch.tensor([encoding.attention_mask for encoding in encodings]),
        },
        first_tokens([encoding.word_ids for encoding in encodings], [*map(len, sentences)]),
    )
