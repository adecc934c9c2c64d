"""Which tokens are the first of a word, by tokenizers of several kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from limbeck.data.tokenization import tokenization
from limbeck.data.words import first_tokens
from limbeck.errors import LimbeckError
from limbeck.words import LOST, Words
from tagged_files import sentences, tokenizer

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


def test_first_tokens() -> None:
    ids = [[None, 0, 0, 1, None], [None, 1, 2]]  # the second sentence's word 0 has no token
    assert first_tokens(ids, [3, 3]).tolist() == [[1, 3, LOST], [LOST, 1, 2]]


@pytest.mark.parametrize("side", ["right", "left"])
def test_words_of_a_tokenizer_are_those_of_its_word_ids(side: str, tmp_path: Path) -> None:
    tokenizer(padding_side=side, most=20).save_pretrained(tmp_path)
    reads = tokenization(str(tmp_path), 64)
    some = [tuple(words) for words, _ in sentences(5)]
    given = reads.tokenize(some).batch(torch.tensor([3, 0, 4]))
    assert isinstance(given, Words)
    theirs = reads.tokenizer(
        [[*some[row]] for row in (3, 0, 4)],
        is_split_into_words=True,
        truncation=True,
        max_length=20,
        padding=True,
        return_tensors="pt",
    )
    for name in given:
        assert torch.equal(given[name], theirs[name])
    for row, place in enumerate((3, 0, 4)):
        ids = theirs.word_ids(row)
        for word in range(len(some[place])):
            assert int(given.first[row, word]) == (ids.index(word) if word in ids else LOST)
    lost = int((given.first == LOST).sum()) - sum(given.first.shape[1] - len(some[row]) for row in (3, 0, 4))
    assert lost > 0  # of 20 tokens


def byte_level(folder: Path) -> Path:
    """A RoBERTa tokenizer as it is published: without a space before the first word."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["ada went to oslo and ada went to rome"] * 4, trainer)
    import json

    model = json.loads(made.to_str())["model"]
    kind: Any = transformers.RobertaTokenizerFast
    kind(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]]).save_pretrained(folder)
    return folder


def test_a_byte_level_tokenizer_that_would_glue_words_is_refused(tmp_path: Path) -> None:
    folder = byte_level(tmp_path / "roberta")
    with pytest.raises(LimbeckError, match=r"write hf:.*roberta\(add_prefix_space=true\)"):
        tokenization(str(folder), 64).tokenize([("ada", "went")])
    reads = tokenization(str(folder), 64, add_prefix_space=True)
    given = reads.tokenize([("ada", "went")]).batch(torch.tensor([0]))
    tokens = reads.tokenizer.convert_ids_to_tokens(given["input_ids"][0].tolist())
    assert "Ġwent" in tokens
    assert reads.digest != tokenization(str(folder), 64).digest
    reads.save(tmp_path / "saved")  # as a run keeps it
    again = tokenization(str(tmp_path / "saved"), 64)
    assert again.digest == reads.digest
    assert torch.equal(again.tokenize([("ada", "went")]).values["input_ids"], given["input_ids"][0])


def test_a_space_before_words_is_for_byte_level_tokenizers(tmp_path: Path) -> None:
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(LimbeckError, match="is not of bytes, so add_prefix_space means nothing to it"):
        tokenization(str(tmp_path), 64, add_prefix_space=True)
