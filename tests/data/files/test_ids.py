from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from limbeck import data
from limbeck.data.files.ids import id_of
from limbeck.data.storage.texts import Texts
from limbeck.errors import LimbeckError


@pytest.mark.parametrize(
    ("value", "expected"),
    [("u7", "u7"), (" u7 ", "u7"), (7, "7"), (7.0, "7"), ("7.0", "7"), ("007", "007"), (True, "True")]
    + [(empty, None) for empty in (None, "", "  ", float("nan"))],
)
def test_a_whole_number_has_one_form(value: Any, expected: str | None) -> None:
    assert id_of(value) == expected


def written(folder: Path, rows: list[str], split: str = "train") -> Path:
    (folder / f"{split}.csv").write_text("\n".join(["uid,text,label", *rows]) + "\n")
    return folder


def test_a_text_keeps_its_id(tmp_path: Path) -> None:
    rows = [f"u{number},text {number},{'ab'[number % 2]}" for number in range(30)]
    source = data.from_text(data_dir=written(tmp_path, rows), id="uid")
    assert source.name == 'text(id="uid")'
    seen = []
    for split in (source.train, source.validation, source.test):
        assert split is not None
        samples = split.samples
        assert isinstance(samples, Texts)
        assert [f"u{text.removeprefix('text ')}" for text in samples.texts()] == samples.ids()
        seen += samples.ids()
    assert sorted(seen) == sorted(f"u{number}" for number in range(30))
    part = source.train.samples.select(source.train.index[[3, 1]])
    assert isinstance(part, Texts)
    assert [f"text {each[1:]}" for each in part.ids()] == part.texts()
    without = data.from_text(data_dir=tmp_path)
    assert isinstance(without.train.samples, Texts)
    assert without.train.samples.ids() == []
    assert without.fingerprint() == source.fingerprint()


def test_ids_of_texts_without_labels(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("uid,text\n7,one\n8,two\n")
    source = data.from_text(data_dir=tmp_path, id="uid", names=("x", "y"))
    assert isinstance(source.train.samples, Texts)
    assert source.train.samples.ids() == ["7", "8"]
    assert not source.train.has_labels


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["u1,one,a", ",two,b"], "^the column 'uid' of '.*' is empty in row 2$"),
        (
            ["7,one,a", "8,two,b", "7.0,three,a"],
            "^row 1 of '.*' and row 3 of '.*' have the same id, '7'; give",
        ),
    ],
)
def test_an_id_is_of_one_text(rows: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=message):
        data.from_text(data_dir=written(tmp_path, rows), id="uid")


def test_an_id_is_of_one_split(tmp_path: Path) -> None:
    written(written(tmp_path, ["u1,one,a", "u2,two,b"]), ["u2,three,b", "u4,four,a"], "test")
    with pytest.raises(
        LimbeckError, match=r"^row 2 of '.*train\.csv' and row 1 of '.*test\.csv' have the same"
    ):
        data.from_text(data_dir=tmp_path, id="uid")


def test_a_column_of_ids_is_there(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"^unknown column of '.*': 'id'; did you mean 'uid'\?"):
        data.from_text(data_dir=written(tmp_path, ["u1,one,a", "u2,two,b"]), id="id")
