"""Sources of sentences with a tag for each word."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from limbeck import data
from limbeck.data import Loader, Split, encode_words, from_tagged
from limbeck.data.storage.texts import Texts
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED
from limbeck.tasks import TokenClassification
from limbeck.words import LOST, Words
from tagged_files import NAMES, conll, sentences, write_conll, write_jsonl


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_conll(tmp_path_factory.mktemp("corpus"), train=40, validation=10, test=10)


def texts_of(split: Split | None) -> Texts:
    """The sentences of a split."""
    assert split is not None
    assert isinstance(split.samples, Texts)
    return split.samples


def test_a_source_names_its_task_and_what_networks_must_know(corpus: Path) -> None:
    source = from_tagged(data_dir=corpus)
    assert source.task == TokenClassification(NAMES)
    assert (source.name, source.kind) == ("tagged", "text")
    assert source.facts["per_token"] is True
    assert len(source.train) == 40
    assert source.validation is not None
    assert source.test is not None
    assert (len(source.validation), len(source.test)) == (10, 10)
    assert source.fingerprint() == data.load("tagged", corpus).fingerprint()


def test_every_word_has_its_tag_and_its_first_token(corpus: Path) -> None:
    source = from_tagged(data_dir=corpus, vocab_size=270)
    tokenizer = Tokenizer.from_str(source.files["tokenizer.json"])
    inputs = source.example(3)
    assert isinstance(inputs, Words)
    for row, (words, tags) in enumerate(sentences(3)):
        assert [NAMES[tag] for tag in source.train.targets[row, : len(words)].tolist()] == tags
        assert (source.train.targets[row, len(words) :] == UNLABELED).all()
        for word, text in enumerate(words):
            start = int(inputs.first[row, word])
            after = inputs.first[row, word + 1 :].tolist()
            end = next((place for place in after if place != LOST), int(inputs["attention_mask"][row].sum()))
            assert tokenizer.decode(inputs["input_ids"][row, start:end].tolist()).strip() == text
    again = encode_words(tokenizer, [words for words, _ in sentences(3)])
    assert torch.equal(again["input_ids"], inputs["input_ids"])
    width = again.first.shape[1]
    assert torch.equal(again.first, inputs.first[:, :width])


def test_no_word_of_another_split_is_lost_but_by_max_length(corpus: Path) -> None:
    whole, cut = from_tagged(data_dir=corpus), from_tagged(data_dir=corpus, max_length=6)
    for source, some_lost in ((whole, False), (cut, True)):
        for split in (source.train, source.validation, source.test):
            assert split is not None
            assert isinstance(split.samples, Texts)
            assert isinstance(split.samples.inputs, Words)
            lost = split.samples.lost_by(split.samples.inputs.first)
            assert (lost > 0) == some_lost
    assert isinstance(cut.train.samples, Texts)
    total = sum(map(len, cut.train.samples.corpus.words or ()))
    inputs = cut.train.samples.inputs
    assert isinstance(inputs, Words)
    share = 1 - int(inputs.read.sum()) / total
    assert cut.train.samples.lost_by(inputs.first) == pytest.approx(share)


def test_a_loader_gives_words_and_tags_in_any_order(corpus: Path) -> None:
    source = from_tagged(data_dir=corpus)
    batch = next(iter(Loader(source.train, 8, seed=3)))
    assert isinstance(batch.inputs, Words)
    assert batch.targets is not None
    assert batch.index is not None
    assert torch.equal(batch.inputs.first, source.train.samples.inputs.first[batch.index])  # type: ignore[attr-defined]
    assert torch.equal(batch.targets, source.train.targets[batch.index])
    assert torch.equal(batch.inputs.read, batch.targets != UNLABELED)


def test_splits_are_held_out_and_copies_are_not_parted(tmp_path: Path) -> None:
    some = sentences(30)
    (tmp_path / "words.conll").write_text(conll([*some, *some]))
    source = from_tagged(path=str(tmp_path / "words.conll"))
    assert source.validation is not None
    assert source.test is not None
    texts = [set(of.texts()) for of in map(texts_of, (source.train, source.validation, source.test))]
    assert len(source.train) + len(source.validation) + len(source.test) == 60
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]


def test_rows_with_numbers_are_the_same_as_a_file_with_names(corpus: Path, tmp_path: Path) -> None:
    for seed, (split, count) in enumerate({"train": 40, "validation": 10, "test": 10}.items()):
        rows = [(words, [NAMES.index(tag) for tag in tags]) for words, tags in sentences(count, seed)]
        write_jsonl(tmp_path / f"{split}.jsonl", rows, tags="tags")
    source = from_tagged(data_dir=tmp_path, names=NAMES)
    assert source.fingerprint() == from_tagged(data_dir=corpus).fingerprint()
    assert source.name.startswith("tagged(names=")


def test_a_parquet_file_declares_its_names(tmp_path: Path) -> None:
    import datasets

    declared = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=NAMES)),
        }
    )
    rows = {"tokens": [w for w, _ in sentences(20)], "ner_tags": [t for _, t in sentences(20)]}
    datasets.Dataset.from_dict(rows, features=declared).to_parquet(str(tmp_path / "train.parquet"))
    source = from_tagged(data_dir=tmp_path)
    assert source.task.names == NAMES
    rest = {name for name in NAMES if (source.train.targets == NAMES.index(name)).any()}
    assert "B-PER" in rest


def test_sentences_without_tags_are_for_a_teacher(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text("\n\n".join("\n".join(words) for words, _ in sentences(20)))
    with pytest.raises(
        LimbeckError, match=r"has one column, of words, and no tags; give the names of the tags"
    ):
        from_tagged(data_dir=tmp_path)
    source = from_tagged(data_dir=tmp_path, names=NAMES)
    assert source.train.targets.shape == (20, 0)
    assert not source.train.has_labels
    assert (source.validation, source.test) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"tags": "pos"},
            "leave out tags='pos': a CoNLL file has its words and tags in columns without names",
        ),
        ({"words": "w"}, "leave out words='w': a CoNLL file"),
        ({"column": 0}, "column=0 is none of the tags"),
        (
            {"names": ("O", "B-PER")},
            r"the tag 'B-ORG' in line 7 of .*train.conll' is none that names=\[...\] has",
        ),
        ({"path": "gone.conll"}, "there is no file or directory"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    arguments: dict[str, object], message: str, corpus: Path
) -> None:
    with pytest.raises(LimbeckError, match=message):
        from_tagged(data_dir=corpus, **arguments)  # type: ignore[arg-type]


def test_an_unknown_tag_in_the_test_split_is_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text((corpus / "train.conll").read_text())
    (tmp_path / "test.conll").write_text("Ada B-PER\nnow B-DATE\n")
    with pytest.raises(
        LimbeckError, match=r"the tag 'B-DATE' in line 2 of .*test.conll' is none that .*train"
    ):
        from_tagged(data_dir=tmp_path)
    (tmp_path / "test.conll").write_text("Ada\nnow\n")
    with pytest.raises(LimbeckError, match=r"test.conll' has one column, of words, and no tags"):
        from_tagged(data_dir=tmp_path)


def test_a_directory_with_both_formats_is_refused(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text((corpus / "train.conll").read_text())
    write_jsonl(tmp_path / "train.jsonl", sentences(5))
    with pytest.raises(LimbeckError, match=r"holds train.conll and train.jsonl; give the path of one"):
        from_tagged(data_dir=tmp_path)
    with pytest.raises(LimbeckError, match=r"leave out column=1: it is for CoNLL files"):
        from_tagged("train.jsonl", column=1, data_dir=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LimbeckError, match=r"holds no train.conll, .* or train.arrow"):
        from_tagged(data_dir=tmp_path / "empty")


def test_other_data_sets_have_no_tags() -> None:
    with pytest.raises(
        LimbeckError, match=r"token_classification has a tag for each word, .* take the data set"
    ):
        data.load('text(path="x.csv", task="token_classification")')
