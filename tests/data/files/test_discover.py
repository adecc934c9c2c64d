from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.data.files.discover import VALIDATION, files_of, name_of, splits_in
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
