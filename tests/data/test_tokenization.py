"""A network with a tokenizer of its own reads exactly what its `AutoTokenizer` makes of a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from limbeck import data
from limbeck.data import Loader, Source
from limbeck.data.storage.texts import Texts
from limbeck.data.tokenization import Tokenization, tokenization
from limbeck.errors import LimbeckError
from limbeck.runs.huggingface import unknown_note
from pretrained_folders import bert, texts, write_texts

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return data.load("text", write_texts(tmp_path_factory.mktemp("texts")))


@pytest.fixture(scope="module", params=["right", "left"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("tokens") / "model", padding_side=request.param, most=10)


def test_a_batch_is_what_the_tokenizer_gives(folder: Path, source: Source) -> None:
    reads, theirs = tokenization(str(folder), 32), transformers.AutoTokenizer.from_pretrained(folder)
    written = source.train.samples.texts()  # type: ignore[attr-defined]
    loader = Loader(source.train, 16, seed=1, preparation=reads)
    seen = []
    for batch in loader:
        assert isinstance(batch.inputs, dict)
        assert batch.index is not None
        expected = theirs(
            [written[row] for row in batch.index.tolist()], truncation=True, padding=True, return_tensors="pt"
        )
        assert batch.inputs.keys() == expected.keys()
        for name, tensor in batch.inputs.items():
            assert torch.equal(tensor, expected[name]), name
        seen += batch.index.tolist()
    assert sorted(seen) == list(range(len(source.train)))


def test_samples_of_about_one_length_share_a_batch(folder: Path, source: Source) -> None:
    reads = tokenization(str(folder), 32)
    lengths = reads.lengths(source.train.samples, source.train.index)
    assert lengths is not None

    def padded(loader: Loader) -> int:
        return sum(len(batch) * int(lengths[batch.index].max()) for batch in loader)

    ours = padded(Loader(source.train, 4, preparation=reads))
    unsorted = padded(Loader(source.train, 4))
    assert int(lengths.sum()) <= ours < unsorted
    assert ours - int(lengths.sum()) < 0.6 * (unsorted - int(lengths.sum()))


def test_a_text_is_cut_to_what_the_network_reads(folder: Path, source: Source) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    written = source.train.samples.texts()  # type: ignore[attr-defined]
    long = [len(theirs(text)["input_ids"]) > 6 for text in written]
    reads = tokenization(str(folder), 32, max_length=6)
    assert reads.max_length == 6
    assert reads.share_cut(source.train.samples) == sum(long) / len(long) > 0.3
    assert tokenization(str(folder), 8).max_length == 8  # the positions of the network
    assert tokenization(str(folder), 32).max_length == 10  # the tokenizer's own word
    with pytest.raises(LimbeckError, match="reads at most 10 tokens of a text, not max_length=11"):
        tokenization(str(folder), 32, max_length=11)


def test_what_a_tokenizer_does_not_know_is_counted(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n我的票,a\nsnow rain,b\n票,a\nsnow,b\n", encoding="utf-8")
    foreign = data.load("text", tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    samples = foreign.train.samples
    assert isinstance(samples, Texts)
    tokens = [token for text in samples.corpus.texts for token in theirs.tokenize(text)]
    expected = tokens.count(theirs.unk_token) / len(tokens)
    reads = tokenization(str(folder), 32)
    assert reads.share_unknown(samples) == pytest.approx(expected)
    assert expected == 3 / 6, "the second text of one token is held out"
    note = unknown_note(reads, foreign, "the student")
    assert note is not None
    assert note.startswith(
        f"{100 * expected:.3g} % of the tokens that the student reads are the one for what"
    )


def test_a_tokenizer_that_knows_its_texts_is_not_told_of(folder: Path, source: Source) -> None:
    reads = tokenization(str(folder), 32)
    assert reads.share_unknown(source.train.samples) < 0.05
    assert unknown_note(reads, source, "the student") is None


def test_the_key_knows_the_tokenizer_and_the_texts(tmp_path: Path, source: Source) -> None:
    first, second = bert(tmp_path / "a"), bert(tmp_path / "b", padding_side="left")
    keys = {tokenization(str(each), 32).key(source.train.samples) for each in (first, second)}
    keys |= {tokenization(str(first), 32, max_length=5).key(source.train.samples)}
    other = data.load("text", write_texts(tmp_path / "texts", train=60))
    keys |= {tokenization(str(first), 32).key(other.train.samples)}
    assert len(keys) == 4


def test_a_saved_tokenizer_is_the_same_one(folder: Path, tmp_path: Path) -> None:
    reads = tokenization(str(folder), 32)
    reads.tokenizer([text for text, _ in texts(3)], truncation=True, max_length=4, padding=True)
    reads.save(tmp_path / "again")
    again = tokenization(str(tmp_path / "again"), 32)
    assert again == reads
    assert again.digest == reads.digest


def test_a_saved_tokenizer_cuts_where_the_network_did(folder: Path, tmp_path: Path) -> None:
    reads = tokenization(str(folder), 32, max_length=5)
    reads.tokenizer([text for text, _ in texts(3)], padding="max_length", max_length=12)
    reads.save(tmp_path / "again")
    again = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    long = " ".join(text for text, _ in texts(3))
    assert (
        again(long, truncation=True)["input_ids"]
        == reads.tokenize([long]).batch(torch.tensor([0]))["input_ids"].squeeze(0).tolist()
    )
    assert len(again(long, truncation=True)["input_ids"]) == 5


def test_further_views_are_read_by_the_same_tokenizer(folder: Path, source: Source) -> None:
    reads = tokenization(str(folder), 32)
    batch = next(iter(Loader(source.train, 8, preparation=reads, extra_views=["other"])))
    assert isinstance(batch.inputs, dict)
    other = batch.views["other"]
    assert isinstance(other, dict)
    assert torch.equal(other["input_ids"], batch.inputs["input_ids"])


def test_a_length_without_room_for_a_text_is_refused(folder: Path) -> None:
    refused(folder, "adds 2 special tokens to a text, so max_length=2 leaves no room for it", max_length=2)


def test_token_ids_that_somebody_else_made_are_taken_as_they_are() -> None:
    inputs = {"input_ids": torch.ones(4, 3, dtype=torch.int64)}
    source = data.from_tensors(inputs, torch.tensor([0, 1, 0, 1]))
    reads = Tokenization(place="x", digest="0", max_length=3)
    (batch,) = Loader(source.train, 4, preparation=reads)
    assert torch.equal(batch.inputs["input_ids"], inputs["input_ids"])  # type: ignore[index]


def test_images_are_refused() -> None:
    source = data.from_tensors(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 0, 1]))
    with pytest.raises(LimbeckError, match="the network x reads texts, and these inputs are none"):
        source.example(preparation=Tokenization(place="x", digest="0", max_length=3))


def refused(folder: Path, message: str, **settings: Any) -> None:
    with pytest.raises(LimbeckError, match=message):
        tokenization(str(folder), 32, **settings)


def test_a_tokenizer_without_a_token_to_pad_with_is_refused_unless_one_is_named(tmp_path: Path) -> None:
    bert(tmp_path, pad=False)
    with pytest.raises(LimbeckError, match=r'name one, hf:.*\(pad_token="\[PAD\]"\)$'):
        tokenization(str(tmp_path), 32).tokenize(["rain"])
    refused(tmp_path, r"has no token '<pad>' to pad with", pad_token="<pad>")
    assert tokenization(str(tmp_path), 32, pad_token="[PAD]").tokenizer.pad_token_id == 0


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    refused(tmp_path, r"holds no tokenizer; write it there with tokenizer.save_pretrained")
