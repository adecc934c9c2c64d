from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from limbeck.data.files.arrow import read_mapped
from limbeck.data.files.rows import Rows, portions, read
from limbeck.errors import LimbeckError


def columns(rows: Rows) -> dict[str, list[Any]]:
    """All rows at once."""
    found: dict[str, list[Any]] = {}
    for batch in rows.batches():
        for name, values in batch.items():
            found.setdefault(name, []).extend(values)
    return found


def test_a_csv_with_quotes_newlines_and_words_that_pandas_takes_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'text,label\r\n"one,\r\ntwo",x\r\nNone,NA\r\n"say ""no""",007\r\n')
    (split,) = read(str(tmp_path / "a.csv"), None, as_text=("text", "label")).items()
    assert split[0] == "train"
    assert split[1].name == repr(str(tmp_path / "a.csv"))
    assert columns(split[1]) == {"text": ["one,\r\ntwo", "None", 'say "no"'], "label": ["x", "NA", "007"]}


def test_columns_that_are_not_text_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y,label\n1,0.5,1\n2,1e3,2\n")
    found = columns(read("a.csv", tmp_path, as_text=("label",))["train"])
    assert found == {"x": [1, 2], "y": [0.5, 1000.0], "label": ["1", "2"]}


def test_more_rows_than_fit_a_batch_keep_their_order_and_their_type(tmp_path: Path) -> None:
    lines = [f"{number},{number if number < 20_000 else 'late'}" for number in range(20_001)]
    (tmp_path / "a.csv").write_text("x,label\n" + "\n".join(lines))
    rows = read("a.csv", tmp_path, as_text=("label",))["train"]
    assert max(len(batch["x"]) for batch in rows.batches()) == 1000
    found = columns(rows)
    assert found["x"] == list(range(20_001))
    assert (found["label"][0], found["label"][-1]) == ("0", "late")


@pytest.mark.parametrize("reader", [read, partial(read_mapped, test="test", memory=10**6)])
def test_nobody_is_told_that_a_file_is_read(
    reader: Callable[[str, Path], dict[str, Rows]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`datasets` counts the uses of its readers by a request to a server, if it is let."""
    sessions: list[str] = []
    monkeypatch.setattr(datasets.load, "get_session", lambda: sessions.append("asked"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    (tmp_path / "a.csv").write_text("x,label\n1,2\n")
    assert columns(reader("a.csv", tmp_path)["train"]) == {"x": [1], "label": [2]}
    assert not sessions
    assert datasets.config.HF_UPDATE_DOWNLOAD_COUNTS


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".arrow"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    wanted = [{"text": "Ä b", "label": 3}, {"text": "c", "label": None}]
    file = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        datasets.Dataset.from_list(wanted).to_parquet(file)
    elif suffix == ".arrow":
        datasets.Dataset.from_list(wanted).save_to_disk(tmp_path / "saved")
        next((tmp_path / "saved").glob("*.arrow")).rename(file)
    else:
        file.write_text("\n".join(map(json.dumps, wanted)) if suffix == ".jsonl" else json.dumps(wanted))
    assert columns(read(str(file), None)["train"]) == {"text": ["Ä b", "c"], "label": [3, None]}


def test_a_directory_has_a_file_for_each_split_and_may_hold_others(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv", "trainer.csv", "untested.csv"):
        (tmp_path / name).write_text(f"name\n{name}\n")
    (tmp_path / "notes.txt").write_text("train")
    found = read("", tmp_path)
    assert {split: columns(rows)["name"] for split, rows in found.items()} == {
        "train": ["train.csv"],
        "test": ["test.csv"],
    }


def test_a_split_in_several_files_laid_out_like_the_hub_s(tmp_path: Path) -> None:
    folder = tmp_path / "a [b] c"  # not a pattern
    folder.mkdir()
    for split, part, value in (("train", 1, 5), ("train", 0, 4), ("validation", 0, 6)):
        table = datasets.Dataset.from_dict({"x": [value]})
        table.to_parquet(folder / f"{split}-{part:05}-of-00002.parquet")
    found = read(str(folder), None)
    assert {split: columns(rows)["x"] for split, rows in found.items()} == {
        "train": [4, 5],
        "validation": [6],
    }
    assert found["train"].name == repr(str(folder / "train-*"))


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    for value in (1, 2):
        (tmp_path / "a.csv").write_text(f"x\n{value}\n")
        assert columns(read("a.csv", tmp_path)["train"]) == {"x": [value]}


def test_declared_class_names(tmp_path: Path) -> None:
    features = datasets.Features(
        {"label": datasets.ClassLabel(names=["no", "yes"]), "x": datasets.Value("int64")}
    )
    data = datasets.Dataset.from_dict({"label": [1, 0], "x": [3, 4]}, features)
    data.to_parquet(str(tmp_path / "train.parquet"))
    rows = read("", tmp_path)["train"]
    assert rows.classes("label") == ("no", "yes")
    assert rows.classes("x") is None
    assert rows.classes("y") is None
    assert columns(rows)["label"] == [1, 0]


def test_a_data_set_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    parts = {name: datasets.Dataset.from_dict({"x": [name]}) for name in ("test", "train", "extra")}
    asked: list[str] = []

    def load_dataset(name: str) -> Any:
        asked.append(name)
        return parts

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = read("somebody/something", None)
    assert asked == ["somebody/something"]
    assert {split: (rows.name, columns(rows)["x"]) for split, rows in found.items()} == {
        "train": ("the train split of 'somebody/something'", ["train"]),
        "test": ("the test split of 'somebody/something'", ["test"]),
    }
    del parts["train"]
    with pytest.raises(LimbeckError, match="'somebody/something' has no split 'train' but 'test', 'extra'"):
        read("somebody/something", None)


def test_a_data_set_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    def load_dataset(name: str) -> Any:
        raise ConnectionError("Couldn't reach the Hub\nat all")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        LimbeckError,
        match=r"'nobody/it' is no file, .* read: Couldn't reach the Hub; a copy .* data_dir \(--data-dir\)$",
    ):
        read("nobody/it", None)


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ({}, "a.csv", r"there is no file or directory '.*a\.csv'"),
        ({"a.txt": b"x"}, "a.txt", r"a\.txt' should be a file of \.csv, \.json, \.jsonl, \.parquet, \.arrow"),
        (
            {"test.csv": b"x\n1"},
            "",
            r"holds no train\.csv, train\.json, train\.jsonl, train\.parquet or train\.arrow",
        ),
        (
            {"train.csv": b"x\n1", "test.jsonl": b"{}"},
            "",
            r"train\.csv' and '.*test\.jsonl' should be .* one format",
        ),
        ({"train.csv": b"x\n1", "test.csv": b""}, "", r"test\.csv' is empty"),
        ({"a.csv": b"x,y\n"}, "a.csv", r"a\.csv' holds no rows"),
        (
            {"a.csv": b"x,y\n1,2\n3,4,5\n"},
            "a.csv",
            r"a\.csv' cannot be read: .*Expected 2 fields in line 3, saw 3",
        ),
        (
            {"a.csv": b"\x89PNG\r\n\x1a\n\x00\xff"},
            "a.csv",
            r"a\.csv' cannot be read: 'utf-8' codec can't decode",
        ),
        (
            {"a.jsonl": b"not json"},
            "a.jsonl",
            r"^line 1 of '.*a\.jsonl' is no JSON object: 'not json'; each should be one row",
        ),
        ({"a.parquet": b"PAR1 not parquet"}, "a.parquet", r"a\.parquet' cannot be read: "),
    ],
)
def test_refuses(
    tmp_path: Path, files: dict[str, bytes], path: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LimbeckError, match=message):
        [columns(rows) for rows in read(path, tmp_path).values()]
    assert capfd.readouterr().err == ""
    assert logging.getLogger("datasets").level != logging.CRITICAL


def test_refuses_to_read_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LimbeckError, match="say which file, directory or data set"):
        read("", None)
    for path in ("reviews.csv", "./reviews", str(tmp_path / "reviews")):  # none of which the hub is asked for
        with pytest.raises(LimbeckError, match=r"there is no file or directory '.*reviews"):
            read(path, None)


def parts_of(targets: dict[str, Sequence[int]], share: float) -> dict[str, tuple[str, list[int]]]:
    made = portions({split: torch.tensor(ids) for split, ids in targets.items()}, share)
    return {split: (of, rows.tolist()) for split, (of, rows) in made.items()}


def test_what_was_not_found_is_held_out_of_training_class_by_class() -> None:
    targets = [0] * 100 + [1] * 50
    made = parts_of({"train": targets}, 0.2)
    rows = [row for of, part in made.values() for row in part]
    assert sorted(rows) == list(range(150))
    counts = {split: (sum(row < 100 for row in part), len(part)) for split, (_, part) in made.items()}
    assert counts == {"train": (64, 96), "validation": (16, 24), "test": (20, 30)}
    assert {of for of, _ in made.values()} == {"train"}
    assert made == parts_of({"train": targets}, 0.2)


def test_what_was_found_is_whole() -> None:
    made = parts_of({"train": [0, 0, 1, 1], "validation": [1], "test": [0, 1]}, 0.5)
    assert made == {
        "train": ("train", [0, 1, 2, 3]),
        "validation": ("validation", [0]),
        "test": ("test", [0, 1]),
    }
    made = parts_of({"train": [0, 0, 1, 1], "test": [0, 1]}, 0.5)
    assert (len(made["train"][1]), len(made["validation"][1]), made["test"]) == (2, 2, ("test", [0, 1]))


def test_a_class_never_loses_its_only_row() -> None:
    assert parts_of({"train": [0, 1, 2]}, 0.5) == {"train": ("train", [0, 1, 2])}
