"""Texts keep what was written, whatever tokens the data's own tokenizer made of it."""

from __future__ import annotations

import pytest
import torch

from limbeck.data.storage.texts import Corpus, Ragged, Texts
from limbeck.words import LOST, Words

FLAT = {"input_ids": torch.tensor([5, 6, 7, 8, 9, 10]), "attention_mask": torch.ones(6, dtype=torch.int64)}
PADDING = {"input_ids": 3, "attention_mask": 0}
STARTS = torch.tensor([0, 1, 4, 6])


def test_a_batch_is_filled_up_to_its_longest_sequence() -> None:
    batch = Ragged(FLAT, STARTS, PADDING).batch(torch.tensor([2, 0]))
    assert batch["input_ids"].tolist() == [[9, 10], [5, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]


def test_a_batch_is_filled_up_on_the_left_where_the_tokenizer_does_so() -> None:
    batch = Ragged(FLAT, STARTS, PADDING, left=True).batch(torch.tensor([0, 1]))
    assert batch["input_ids"].tolist() == [[3, 3, 5], [6, 7, 8]]
    assert batch["attention_mask"].tolist() == [[0, 0, 1], [1, 1, 1]]


def test_the_lengths_are_those_of_the_sequences() -> None:
    assert Ragged(FLAT, STARTS, PADDING).lengths.tolist() == [1, 3, 2]


def texts() -> Texts:
    return Texts({"input_ids": torch.arange(3)[:, None]}, corpus=Corpus(["one", "two", "three"]))


def test_a_part_keeps_its_texts() -> None:
    part = texts().select(torch.tensor([2, 0])).select(torch.tensor([1]))
    assert part.texts() == ["one"]
    assert part.of_corpus(torch.tensor([0])).tolist() == [0]
    assert texts().texts() == ["one", "two", "three"]


def test_a_network_with_another_tokenizer_reads_its_own_tokens_of_the_same_samples() -> None:
    part = texts().select(torch.tensor([2, 0]))
    read = part.read(Ragged(FLAT, STARTS, PADDING), torch.tensor([1, 0]))
    assert isinstance(read, dict)
    assert read["input_ids"].tolist() == [[5, 3], [9, 10]]


def test_tokens_are_made_once_for_each_tokenizer() -> None:
    corpus, made = Corpus(["a"]), []

    def tokenize(texts: object) -> Ragged:
        made.append(texts)
        return Ragged(FLAT, STARTS, PADDING)

    assert corpus.tokens("x", tokenize) is corpus.tokens("x", tokenize)
    corpus.tokens("y", tokenize)
    assert len(made) == 2


def test_a_fingerprint_knows_where_a_text_ends() -> None:
    assert Corpus(["ab", "c"]).fingerprint != Corpus(["a", "bc"]).fingerprint
    assert Corpus(["ab", "c"]).fingerprint == Corpus(("ab", "c")).fingerprint


def test_texts_stay_with_their_tokens_on_another_device() -> None:
    there = texts().to("meta")
    assert isinstance(there, Texts)
    assert there.texts() == ["one", "two", "three"]
    assert there.inputs["input_ids"].device.type == "meta"  # type: ignore[index]


FIRST = torch.tensor([[0, LOST], [0, 2], [1, LOST]])


def test_words_of_a_batch_begin_where_their_tokens_do() -> None:
    batch = Ragged(FLAT, STARTS, PADDING, first=FIRST).batch(torch.tensor([2, 1]))
    assert isinstance(batch, Words)
    assert batch.first.tolist() == [[1, LOST], [0, 2]]
    filled_left = Ragged(FLAT, STARTS, PADDING, left=True, first=FIRST).batch(torch.tensor([2, 1]))
    assert isinstance(filled_left, Words)
    assert filled_left["input_ids"].tolist() == [[3, 9, 10], [6, 7, 8]]
    assert filled_left.first.tolist() == [[2, LOST], [0, 2]]


def test_sentences_are_told_apart_by_their_words() -> None:
    whole, parted = Corpus(["a b c"], words=[["a b", "c"]]), Corpus(["a b c"], words=[["a", "b c"]])
    assert len({whole.fingerprint, parted.fingerprint, Corpus(["a b c"]).fingerprint}) == 3
    inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
    given = [Texts(Words(inputs, torch.tensor([[0, place]])), corpus=whole) for place in (1, 2)]
    assert given[0].fingerprint != given[1].fingerprint


def test_the_share_of_the_words_that_are_lost() -> None:
    corpus = Corpus(["a b", "c", "d e f"], words=[["a", "b"], ["c"], ["d", "e", "f"]])
    first = torch.tensor([[0, 1, LOST], [0, LOST, LOST], [0, LOST, LOST]])
    texts = Texts(Words({"input_ids": torch.zeros(3, 2, dtype=torch.int64)}, first), corpus=corpus)
    assert texts.lost_by(first) == pytest.approx(2 / 6)
    some = texts.select(torch.tensor([2, 0]))
    assert isinstance(some.inputs, Words)
    assert some.lost_by(some.inputs.first) == pytest.approx(2 / 5)
