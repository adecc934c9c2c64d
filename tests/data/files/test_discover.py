from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.data.files.discover import (
    VALIDATION,
    files_of,
    format_of,
    is_split,
    name_of,
    natural,
    options,
    splits_in,
)
from limbeck.errors import LimbeckError


@pytest.mark.parametrize("name", VALIDATION)
def test_a_validation_split_has_many_names(name: str) -> None:
    assert splits_in(["test", name, "train"], "it") == {"train": "train", "validation": name, "test": "test"}
    assert splits_in([name, "train", "extra"], "it") == {"train": "train", "validation": name}
    assert splits_in([name, "train"], "it", test=name) == {"train": "train", "test": name}


def test_refuses_data_without_the_splits_it_needs() -> None:
    with pytest.raises(LimbeckError, match="it has no split 'train' but 'a', 'test'"):
        splits_in(["a", "test"], "it")
    with pytest.raises(LimbeckError, match="it has no split 'val' but 'train', 'valid'"):
        splits_in(["train", "valid"], "it", test="val")


def test_files_belong_to_the_split_that_they_begin_with(tmp_path: Path) -> None:
    for name in ("train-0.csv", "train-1.csv", "val.csv", "training.csv", "notes.txt", "test.csv"):
        (tmp_path / name).write_text("x")
    files = files_of(tmp_path)
    assert {split: [file.name for file in some] for split, some in files.items()} == {
        "train": ["train-0.csv", "train-1.csv"],
        "validation": ["val.csv"],
        "test": ["test.csv"],
    }
    assert name_of(files["train"]) == repr(str(tmp_path / "train-*"))
    assert name_of(files["test"]) == repr(str(tmp_path / "test.csv"))
    assert files_of(tmp_path / "training.csv") == {"train": [tmp_path / "training.csv"]}
    with pytest.raises(LimbeckError, match=r"training\.csv' has no split 'valid' but 'train'"):
        files_of(tmp_path / "training.csv", test="valid")


def test_the_natural_order() -> None:
    names = ["b10", "a", "b9", "10", "B9", "2", "1.5", "Z", "01"]
    assert sorted(names, key=natural) == ["01", "1.5", "2", "10", "a", "B9", "b9", "b10", "Z"]


@pytest.mark.parametrize("name", ["Train", "TRAINING", "training_set", "train-images", "train1"])
def test_splits_are_found_without_regard_to_case(name: str) -> None:
    assert splits_in([name, "Test", "VAL"], "it") == {"train": name, "validation": "VAL", "test": "Test"}
    assert splits_in([name, "train"], "it") == {"train": "train"}  # an exact name comes first
    assert is_split(name)


def test_names_of_other_things_are_no_splits() -> None:
    for name in ("trains", "train station", "data", "set", "latest", "protest"):
        assert not is_split(name)
    with pytest.raises(LimbeckError, match="it has 'Train' and 'TRAIN', which may both be its split 'train'"):
        splits_in(["Train", "TRAIN"], "it")


def test_files_of_splits_without_regard_to_case(tmp_path: Path) -> None:
    for name in ("Train.CSV", "TEST.csv", ".train.csv"):
        (tmp_path / name).write_text("x\n1\n")
    files = files_of(tmp_path)
    assert files == {"train": [tmp_path / "Train.CSV"], "test": [tmp_path / "TEST.csv"]}
    assert format_of(files) == "csv"


@pytest.mark.parametrize(
    ("text", "commas"),
    [("a,b\n1,2,\n3,4,\n", True), ("a,b\n1,2\n", False), ("a,b\n", False), ('a,b\n"1,\n2",3,\n', True)],
)
def test_rows_that_end_in_commas(tmp_path: Path, text: str, commas: bool) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert options({"train": [tmp_path / "a.csv"]}, ()).get("index_col") is (False if commas else None)


def test_refuses_rows_with_more_fields_than_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2,\n3,4,5\n")
    with pytest.raises(
        LimbeckError, match=r"row 2 of '.*a\.csv' has 3 fields, but the first line names 2 col"
    ):
        options({"train": [tmp_path / "a.csv"]}, ())


def test_columns_nobody_asked_for_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\ufeffa,b,c\n1,2,3\n", encoding="utf-8")
    files = {"train": [tmp_path / "a.csv"]}
    assert options(files, (), ("a", "c", "a"))["usecols"] == ["a", "c"]
    assert "usecols" not in options(files, (), ("a", "z"))  # so that the message can list them all
    (tmp_path / "b.csv").write_text(f"a,b\n{'x' * 200_000},2\n")
    assert "usecols" not in options({"train": [tmp_path / "b.csv"]}, (), ("a",))
