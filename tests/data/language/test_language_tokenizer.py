"""Tokenizers of language models: learned from texts, kept in a folder, and told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from language_models import CHAT, stories, tokens
from limbeck.data.language.tokenizer import PROBES, differ, learned, of_place, vocabulary


@pytest.mark.parametrize("size", [257, 300])
def test_a_learned_tokenizer_changes_no_text(size: int) -> None:
    made = learned(stories(20), size)
    assert vocabulary(made) == len(made.tokenizer) == size
    for text in (*PROBES, *stories(3, seed=5)):
        ids = made.tokenizer(text)["input_ids"]
        assert made.tokenizer.decode(ids, skip_special_tokens=True) == text
        assert ids[0] == made.tokenizer.bos_token_id == made.tokenizer.eos_token_id == 0
        if size == 257:
            assert len(ids) == 1 + len(text.encode())


def test_it_is_the_same_when_it_is_had_back_from_a_folder(tmp_path: Path) -> None:
    made = tokens(CHAT)
    made.save(tmp_path)
    again = of_place(str(tmp_path))
    assert again.digest == made.digest
    assert again.tokenizer.chat_template == CHAT
    assert differ(again, made) is None


def test_tokenizers_are_told_apart_by_their_ids_and_their_tokens() -> None:
    ours, same = tokens(), tokens(seed=0)
    assert differ(ours, same) is None
    shown = differ(ours, learned(["other words altogether, in other merges"] * 9, 300))
    assert shown is not None
    assert shown.startswith(("of 'The quick", "the id"))
    padded = tokens()
    padded.tokenizer.add_tokens(["<|extra|>"])
    padded = type(ours)(
        place="padded", digest="other", max_length=ours.max_length, tokenizer=padded.tokenizer
    )
    assert differ(ours, padded) is None  # it has one id more, which the other does not know
    renamed = tokens()
    renamed.tokenizer.add_tokens(["<|a|>"])
    renamed = type(ours)(place="renamed", digest="third", max_length=9, tokenizer=renamed.tokenizer)
    assert differ(padded, renamed) == "the id 300 is '<|extra|>' in one and '<|a|>' in the other"
