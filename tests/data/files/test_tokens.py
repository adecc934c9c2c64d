from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer

from limbeck.data.files.tokens import encode, train_tokenizer

TEXTS = [f"The {animal} sat on the {place}." for animal in ("cat", "dog", "hen") for place in ("mat", "bed")]


def tokens(tokenizer: Tokenizer, text: str) -> list[str]:
    encoding = tokenizer.encode(text)
    return [token for token, valid in zip(encoding.tokens, encoding.attention_mask, strict=True) if valid]


def test_words_that_come_more_than_once_are_one_token() -> None:
    tokenizer = train_tokenizer(TEXTS, 400, 64, lowercase=True)
    assert tokens(tokenizer, "the cat sat on the bed") == ["Ġthe", "Ġcat", "Ġsat", "Ġon", "Ġthe", "Ġbed"]
    assert tokenizer.get_vocab_size() < 400  # pairs that come once are not merged
    assert tokenizer.token_to_id("[PAD]") == 0


def test_case_white_space_and_compatible_letters_make_no_difference() -> None:
    tokenizer = train_tokenizer(TEXTS, 400, 64, lowercase=True)
    assert tokens(tokenizer, "  THE\r\n cat\t") == tokens(tokenizer, "the \uff43at")
    cased = train_tokenizer(TEXTS, 400, 64, lowercase=False)
    assert tokens(cased, "The") == ["ĠThe"]
    assert tokens(cased, "the") == ["Ġthe"]


def test_any_text_can_be_written_and_read_back() -> None:
    tokenizer = train_tokenizer(TEXTS, 300, 64, lowercase=False)
    tokenizer.no_truncation()
    text = "Größe 漢字 🙂"
    assert tokenizer.decode(tokenizer.encode(text).ids).strip() == text


def test_texts_are_padded_and_cut_to_the_longest_training_text() -> None:
    tokenizer = train_tokenizer(TEXTS, 400, 64, lowercase=True)
    inputs = encode(tokenizer, ["the cat", "the cat sat on the bed. the cat sat"])
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in inputs.items()} == {
        "input_ids": ((2, 7), torch.int64),
        "attention_mask": ((2, 7), torch.int64),
    }
    assert inputs["attention_mask"].tolist() == [[1, 1, 0, 0, 0, 0, 0], [1] * 7]
    assert inputs["input_ids"][0].tolist() == [*tokenizer.encode("the cat").ids[:2], 0, 0, 0, 0, 0]
    assert encode(train_tokenizer(TEXTS, 400, 3, lowercase=True), TEXTS)["input_ids"].shape == (6, 3)


@pytest.mark.parametrize("vocab_size", [257, 300])
def test_the_vocabulary_is_as_large_as_was_asked_for(vocab_size: int) -> None:
    words = [f"{a}{b} {a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    assert train_tokenizer(words, vocab_size, 64, lowercase=True).get_vocab_size() == vocab_size


def test_the_same_texts_make_the_same_tokenizer() -> None:
    texts = [
        " ".join(f"{chr(97 + i % 7)}{chr(97 + i % 11)}{i % 13}" for i in range(j, j + 9)) for j in range(200)
    ]
    first = train_tokenizer(texts, 500, 64, lowercase=True)
    assert all(train_tokenizer(texts, 500, 64, lowercase=True).to_str() == first.to_str() for _ in range(5))
    assert (
        Tokenizer.from_str(first.to_str()).encode_batch(texts[:3])[2].ids
        == first.encode_batch(texts[:3])[2].ids
    )
