"""Sources for language models: rows, shares of tokens in the loss, and batches; and the real texts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from language_models import CHAT, llama, tokens, write_rows, write_stories
from limbeck import data
from limbeck.data import Loader, Source
from limbeck.data.language.source import from_language
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED
from limbeck.tasks import Language
from shared_data import DATA, needs_data


def stories_in(folder: Path, arguments: str = "block=16") -> Source:
    file = write_stories(folder)
    return data.load(f'language(path="{file}", separator="\\n\\n", vocab_size=280, {arguments})')


def test_texts_are_packed_into_blocks(tmp_path: Path) -> None:
    source = stories_in(tmp_path)
    assert source.task == Language(280, 0)
    assert source.facts == {"vocab_size": 280}
    assert source.kind == "text"
    assert source.notes == (
        f"100 % of the training tokens are in the loss, {_tokens(source):,} of {_tokens(source):,}",
    )
    batch = next(iter(Loader(source.train, 4)))
    assert isinstance(batch.inputs, dict)
    assert {name: tuple(tensor.shape) for name, tensor in batch.inputs.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "position_ids"), (4, 16)
    )
    assert batch.targets is not None
    assert batch.bytes is not None
    assert batch.targets.shape == (4, 16)
    assert source.tokens is not None
    for wanted, size in zip(batch.targets, batch.bytes, strict=True):
        there = wanted[wanted != UNLABELED].tolist()
        text = source.tokens.tokenizer.decode(there, skip_special_tokens=True)
        assert int(size) == len(text.encode())


def _tokens(source: Source) -> int:
    return int((source.train.targets != UNLABELED).sum())


def test_the_same_texts_are_the_same_data(tmp_path: Path) -> None:
    first, again = stories_in(tmp_path), stories_in(tmp_path)
    assert first.fingerprint() == again.fingerprint()
    assert first.fingerprint() != stories_in(tmp_path, "block=17").fingerprint()
    assert first.prompts == again.prompts
    assert len(first.prompts) == 4


def test_prompts_are_no_part_of_the_loss(tmp_path: Path) -> None:
    rows = [{"prompt": f"Who saw ball {n}?", "response": "Tim saw it."} for n in range(40)]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    source = data.load(f'language(path="{file}", vocab_size=257, block=64)')
    lengths = source.train.samples.lengths(source.train.index)
    assert lengths is not None
    some, every = len(source.train) * 12, int(lengths.sum())  # of each, 11 bytes and the end are learned
    share = f"{100 * some / every:.3g} % of the training tokens are in the loss, {some:,} of {every:,}"
    assert source.notes == (share,)
    assert source.tokens is not None
    first = source.train.targets[0]
    assert source.tokens.tokenizer.decode(first[first >= 0].tolist()) == "Tim saw it.<|endoftext|>"


def test_batches_end_with_their_longest_row(tmp_path: Path) -> None:
    rows = [{"prompt": "Who?", "response": "Tim " * (1 + n % 9)} for n in range(60)]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    source = data.load(f'language(path="{file}", vocab_size=257, block=64)')
    shapes = set()
    for batch in Loader(source.train, 8, seed=0):
        assert isinstance(batch.inputs, dict)
        assert batch.targets is not None
        longest = int(batch.inputs["attention_mask"].sum(1).max())
        assert batch.inputs["input_ids"].shape == batch.targets.shape == (len(batch), longest)
        shapes.add(longest)
    assert len(shapes) > 1  # rows of about one length share a batch
    whole = torch.cat(
        [batch.targets.flatten() for batch in Loader(source.train, 8) if batch.targets is not None]
    )
    assert int((whole != UNLABELED).sum()) == _tokens(source)


def test_what_is_cut_or_left_out_is_said(tmp_path: Path) -> None:
    rows = [{"prompt": "a" * (5 + n), "response": "Tim saw it."} for n in range(40)]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    source = data.load(f'language(path="{file}", vocab_size=257, block=24)')
    _, cut, left = source.notes[:3]
    assert cut.endswith("% of the train documents are longer than block=24 and are cut")
    assert left.endswith("train documents are left out, as none of their first 24 tokens is learned")
    with pytest.raises(LimbeckError, match="no token of the train split is learned"):
        data.load(f'language(path="{file}", vocab_size=257, block=4)')


def test_documents_that_are_in_two_splits_are_counted(tmp_path: Path) -> None:
    for name, some in (("train", "ab"), ("validation", "bc"), ("test", "de")):
        (tmp_path / f"{name}.txt").write_text("|".join(f"Tim saw {each}." for each in some))
    source = data.load(f'language(path="{tmp_path}", separator="|", vocab_size=257)')
    assert source.notes[1:] == (
        "1 of the 2 validation documents are in the training data too, so what is measured on them is too "
        "good",
    )


def test_chats_without_an_answer_are_refused(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": f"Who saw ball {n}?"}]} for n in range(30)]
    file, folder = write_rows(tmp_path / "rows.jsonl", rows), tmp_path / "chat"
    tokens(CHAT).save(folder)
    with pytest.raises(LimbeckError, match="the roles of its messages are user, and none is assistant"):
        data.load(f'language(path="{file}", tokenizer="{folder}")')


def test_a_vocabulary_is_for_a_tokenizer_that_is_trained(tmp_path: Path) -> None:
    folder = llama(tmp_path / "network")
    with pytest.raises(LimbeckError, match="has 300 tokens, more than vocab_size=280"):
        stories_in(tmp_path, f'block=16, tokenizer="{folder}"')
    with pytest.raises(
        LimbeckError, match=r"the argument vocab_size=100 should be greater than or equal to 257"
    ):
        data.load('language(path="x.txt", vocab_size=100)')


def test_a_network_is_measured_on_no_more_rows_than_its_scores_have_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limbeck.data.storage.sequences.SCORES", 3 * 16 * 280)
    source = stories_in(tmp_path)
    assert {len(batch) for batch in Loader(source.train, 512, shuffle=False)} <= {3, len(source.train) % 3}
    assert len(next(iter(Loader(source.train, 8)))) == 8


@needs_data
def test_real_prompts_and_responses() -> None:
    source = data.load(
        f'language(path="{DATA}/language/e2e_nlg/devset.csv", prompt="mr", response="ref", vocab_size=257)'
    )
    assert sum(len(split) for split in (source.train, source.validation, source.test) if split) == 4672
    assert math.isclose(len(source.train) / 4672, 0.81, abs_tol=0.01)


@needs_data
def test_a_real_text_is_cut_into_blocks() -> None:
    source = data.load(
        f'language(path="{DATA}/language/tinyshakespeare/input.txt", vocab_size=257, block=1024)'
    )
    every = sum(
        int((split.targets != UNLABELED).sum())
        for split in (source.train, source.validation, source.test)
        if split is not None
    )
    assert every == 1_115_394  # every byte is predicted


def test_an_argument_that_would_change_nothing_is_refused(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Tim."}]
    chats = write_rows(tmp_path / "chats.jsonl", [{"messages": talk}] * 30)
    texts = write_rows(tmp_path / "texts.jsonl", [{"text": "Tim saw a ball."}] * 30)
    reads = tokens(CHAT)
    for file, given, said in (
        (texts, {"chat": True}, "has plain texts, and chat is for prompts and responses"),
        (texts, {"join": " "}, "join stands between a prompt and its response, and .* has plain texts"),
        (chats, {"join": " "}, "has chats, which their template joins"),
        (chats, {"end": False}, "has chats, and their template says what ends an answer"),
    ):
        with pytest.raises(LimbeckError, match=said):
            from_language(str(file), tokens=reads, **given)
