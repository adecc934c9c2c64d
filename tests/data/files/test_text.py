from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from tokenizers import Tokenizer
from torch import Tensor

from class_counts import class_counts
from limbeck.data import Loader, Source, encode, from_text, load
from limbeck.data.split import Split
from limbeck.data.storage.base import Resident
from limbeck.errors import LimbeckError

BANKING77 = Path(__file__).parents[3].parent / "shared" / "data" / "banking77"
shared = pytest.mark.skipif(not BANKING77.is_dir(), reason="needs ../shared/data/banking77")

WORDS = {"cold": ["snow", "ice", "frost"], "warm": ["sun", "fire", "stove"]}


def lines(count: int, label: Callable[[str], object] = str) -> list[str]:
    """Rows of a CSV with a text and a label; every other text is cold."""
    return [
        f'"{WORDS[kind][i % 3]}, number {i}",{label(kind)}'
        for i in range(count)
        for kind in [("cold", "warm")[i % 2]]
    ]


def write(file: Path, rows: list[str], header: str = "text,label") -> None:
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def tensors(split: Split | None) -> dict[str, Tensor]:
    assert split is not None
    assert isinstance(split.samples, Resident)
    assert not isinstance(split.samples.inputs, Tensor)
    return dict(split.samples.inputs)


def texts(source: Source, split: Split | None) -> list[str]:
    """A split's texts as its token ids have them."""
    tokenizer = Tokenizer.from_str(source.files["tokenizer.json"])
    decoded = tokenizer.decode_batch(tensors(split)["input_ids"].tolist())
    return [text.strip() for text in decoded]


def test_one_file_is_parted_class_by_class(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", lines(40))
    source = from_text(str(tmp_path / "a.csv"))
    assert (source.kind, source.task.names, source.mean) == ("text", ("cold", "warm"), ())
    assert source.validation is not None
    assert source.test is not None
    counts = [class_counts(part, 2).tolist() for part in (source.train, source.validation, source.test)]
    assert counts == [[16, 16], [2, 2], [2, 2]]
    parts = [texts(source, part) for part in (source.train, source.validation, source.test)]
    assert sorted(chain(*parts)) == sorted(line.rpartition(",")[0].strip('"') for line in lines(40))
    assert source.fingerprint() == from_text(str(tmp_path / "a.csv")).fingerprint()


def test_networks_are_called_with_ids_and_mask_of_the_longest_training_text(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", ["sun,warm", "snow and ice,cold", "sun sun,warm", "ice ice,cold"] * 5)
    write(tmp_path / "test.csv", ["sun sun sun ice,warm", "ice,cold"])
    source = from_text(data_dir=tmp_path)
    batch = next(iter(Loader(source.train, 4, shuffle=False))).inputs
    assert not isinstance(batch, Tensor)
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "input_ids": (4, 3),
        "attention_mask": (4, 3),
    }
    test = tensors(source.test)
    assert test["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]  # the fourth word is cut off
    tokenizer = Tokenizer.from_str(source.files["tokenizer.json"])
    again = encode(tokenizer, ["sun sun sun ice", "ice"])
    assert all(torch.equal(again[name], test[name]) for name in test)


def test_the_tokenizer_knows_the_training_texts_alone(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", lines(20))
    write(tmp_path / "test.csv", ["zebra zebra zebra,warm", "zebra zebra,cold"])
    source = from_text(str(tmp_path))
    tokenizer = Tokenizer.from_str(source.files["tokenizer.json"])
    assert tokenizer.token_to_id("Ġsnow") is not None
    assert tokenizer.token_to_id("Ġzebra") is None
    assert source.facts == {"vocab_size": tokenizer.get_vocab_size()}
    held = set(" ".join(texts(source, source.validation)).split()) - set(
        " ".join(texts(source, source.train)).split()
    )
    assert held  # numbers that only the validation texts have
    assert all(tokenizer.token_to_id(f"Ġ{word}") is None for word in held)


def test_arguments_are_heeded(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [line + ",x" for line in lines(40, str.upper)], "body,kind,other")
    spec = 'text(path="a.csv", text="body", label="kind", vocab_size=260, max_length=5, lowercase=False)'
    source = load(spec, tmp_path)
    assert source.name == spec
    assert source.task.names == ("COLD", "WARM")
    assert source.facts == {"vocab_size": 260}
    assert tensors(source.train)["input_ids"].shape == (32, 5)
    assert load('text(path="a.csv", text="body", label="kind")', tmp_path).name == (
        'text(path="a.csv", text="body", label="kind")'
    )


def test_integer_labels_and_rows_without_a_label(tmp_path: Path) -> None:
    labels = {"cold": 10, "warm": 9}
    rows = lines(40, lambda kind: labels[kind])
    write(tmp_path / "train.csv", [*rows, "anything,", "nothing,"])
    source = from_text(data_dir=tmp_path)
    assert source.task.names == ("9", "10")
    assert source.notes[0].startswith("2 of the 42 rows of ")
    assert source.notes[0].endswith(" have no label")
    assert class_counts(source.train, 2).tolist() == [16, 16]
    assert len(source.train) == 34
    assert (
        texts(source, source.train.select((source.train.targets == 1).nonzero()[:1, 0]))[0].split(",")[0]
        in (WORDS["cold"])
    )


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            "text,label\na,x\nb,y",
            {"text": "txt"},
            r"unknown column of '.*a\.csv': 'txt'; did you mean 'text'\?",
        ),
        (
            "message,label\na,x\nb,y",
            {},
            r"'.*a\.csv' has no column 'text'; name the one .* text=\.\.\., among 'label', 'message'",
        ),
        (
            "text,label\na,x\nb,y",
            {"label": "text"},
            "the column 'text' holds the texts, and the labels are to be learned from it; name another",
        ),
        ("text,label\na,x\nb,y", {"label": "labels"}, r"'labels'; did you mean 'label'\?"),
        ("text,label\na,x\n  ,y", {}, r"the column 'text' of '.*a\.csv' is empty in row 2"),
        ("text,label\n,x\n,y", {}, "the column 'text' of .* is empty in row 1"),
        ("text,label\na,x\nb,x", {}, "the column 'label' of .* should hold 2 classes or more, not 1"),
        ("text,label\na,\nb,", {}, "should hold 2 classes or more, not 0"),
        ("text,label\n", {}, "holds no rows"),
    ],
)
def test_refuses_files(tmp_path: Path, content: str, options: dict[str, Any], message: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(LimbeckError, match=message):
        from_text("a.csv", data_dir=tmp_path, **options)


def test_refuses_texts_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": 5, "label": 1}\n{"text": 6, "label": 0}\n')
    with pytest.raises(LimbeckError, match=r"the column 'text' of .* holds 5 in row 1, no text"):
        from_text("a.jsonl", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("text(vocab_size=100)", "argument vocab_size=100 should be greater than or equal to 257"),
        ("text(max_length=0)", "argument max_length=0 should be greater than or equal to 1"),
        ("text(path=reviews)", "argument path=reviews should be a valid string"),
        ("text(lowercase=1)", "argument lowercase=1 should be a valid boolean"),
        ('text(path="nowhere.csv")', r"there is no file or directory 'nowhere\.csv'"),
        ("text", "say which file, directory or data set to read"),
        ('text(column="a")', "unknown argument of text 'column'"),
    ],
)
def test_refuses_arguments(spec: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        load(spec)


@shared
def test_banking77() -> None:
    source = load("banking77", BANKING77)
    assert source.name == "banking77"
    assert source.task.width == 77
    # the public data set's ids
    assert source.task.names[:2] == ("activate_my_card", "age_limit")
    assert source.task.names[51] == "Refund_not_showing_up"
    assert source.validation is not None
    assert source.test is not None
    assert [len(part) for part in (source.train, source.validation, source.test)] == [9000, 1003, 3080]
    assert class_counts(source.train, 77).min() > 0
    assert class_counts(source.test, 77).tolist() == [40] * 77
    assert texts(source, source.test)[0] == "how do i locate my card?"
    assert source.task.names[int(source.test.targets[0])] == "card_arrival"


@shared
def test_banking77_from_the_hub_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = "banking77(vocab_size=300, max_length=8)"
    original = load(spec, BANKING77)
    hub = {}
    for split in ("train", "test"):
        with (BANKING77 / f"{split}.csv").open(newline="", encoding="utf-8") as file:
            rows = [(row["text"], row["category"]) for row in csv.DictReader(file)]
        hub[split] = datasets.Dataset.from_list([{"text": text, "label_text": name} for text, name in rows])
    asked: list[str] = []

    def load_dataset(name: str) -> Any:
        asked.append(name)
        return hub

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = load(spec)
    assert asked == ["mteb/banking77"]
    assert source.name == spec
    assert source.fingerprint() == original.fingerprint()
    assert tensors(source.train)["input_ids"].shape == (9000, 8)


def test_a_file_of_texts_alone_has_no_labels(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", [f"hello {i}" for i in range(40)], "text")
    source = from_text(str(tmp_path / "train.csv"))
    assert source.task.names == ()
    assert (len(source.train), source.validation, source.test) == (40, None, None)
    assert not source.train.has_labels
    assert source.notes == (f"{str(tmp_path / 'train.csv')!r} has no column 'label' and no labels",)
    write(tmp_path / "test.csv", ["hello 1,b", "hello 2,a"])
    source = load('text(names=["b", "a"])', tmp_path)
    assert (source.name, source.task.names) == ('text(names=["b", "a"])', ("b", "a"))
    assert source.test is not None
    assert source.test.targets.tolist() == [0, 1]
    assert source.notes[1].startswith("2 of the 2 test samples are in the training data too")


def test_texts_with_several_labels(tmp_path: Path) -> None:
    tags = ["a", "b|a", "", "|"]
    write(tmp_path / "a.csv", [f"word {i},{tags[i % 4]},{i}.5" for i in range(80)], "text,tags,score")
    source = load('text(path="a.csv", label="tags", task="multilabel", separator="|")', tmp_path)
    assert source.task.names == ("a", "b")
    assert source.task.counts(source.train.targets)[0] > source.task.counts(source.train.targets)[1] > 0
    for part in (source.train, source.validation, source.test):
        assert part is not None
        for text, target in zip(texts(source, part), part.targets.tolist(), strict=True):
            assert target == [[1, 0], [1, 1], [-100, -100], [0, 0]][int(text.split()[1]) % 4]
    source = load('text(path="a.csv", label="score", task="regression")', tmp_path)
    for text, target in zip(texts(source, source.test), source.test.targets.tolist(), strict=True):  # type: ignore[union-attr]
        assert target == [int(text.split()[1]) + 0.5]


def test_texts_with_the_same_tokens_are_on_one_side(tmp_path: Path) -> None:
    words = [
        f"{i % 20 + 10}{' ' * (1 + i % 3)}{'Word' if i % 2 else 'word'},{'ab'[i % 20 % 2]}"
        for i in range(120)
    ]
    write(tmp_path / "a.csv", words)
    source = from_text(str(tmp_path / "a.csv"))
    parts = [set(texts(source, part)) for part in (source.train, source.validation, source.test)]
    assert [len(part) for part in parts] == [16, 2, 2]
    assert len(set().union(*parts)) == 20
    assert source.notes == ()
