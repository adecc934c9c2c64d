"""Rows of files of answers, in the formats that people have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from limbeck.errors import LimbeckError
from limbeck.teachers.files.reading import Given, classes_in, is_answers, read_answers

NAMES = ("cat", "dog", "10")


def written(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    elif path.suffix == ".csv":
        path.write_text("\n".join(rows) + "\n")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def shares(row: Given) -> list[float]:
    assert row.answer is not None
    return [round(float(p), 6) for p in row.answer.probabilities]


def test_a_line_of_json_may_have_any_form(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl",
        [
            {"id": 7, "label": "cat"},
            {"id": "u8", "probabilities": {"cat": 0.5, "dog": 0.5, "10": 0}},
            {"text": "it", "answers": ["dog", 10]},
            {"text": "it", "logits": [0, 0, 0]},
            {"id": "9", "logits": {"cat": 0, "dog": 0, "10": 0}},
            {"id": "10", "label": ""},
        ],
    )
    rows, notes = read_answers(path, NAMES)
    assert [(row.id, row.text) for row in rows] == [
        ("7", None), ("u8", None), (None, "it"), (None, "it"), ("9", None), ("10", None)
    ]  # fmt: skip
    assert [row.answer.form for row in rows if row.answer] == [
        "label", "probabilities", "answers", "logits", "logits"
    ]  # fmt: skip
    assert rows[5].answer is None
    assert shares(rows[2]) == [0, 0.5, 0.5]
    assert rows[2].where == f"row 3 of {str(path)!r}"
    assert notes == ()


def test_a_csv_has_a_column_for_each_class_or_json(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.csv",
        [
            "id,label,answers,probabilities.cat,probabilities.10,model",
            "1,10,,,,big",
            '2,,"[""cat"", ""dog""]",,,big',
            "3,,,0.25,0.75,big",
            "4,,,,,big",
        ],
    )
    rows, notes = read_answers(path, NAMES)
    assert [row.id for row in rows] == ["1", "2", "3", "4"]
    assert [shares(row) for row in rows[:3]] == [[0, 0, 1], [0.5, 0.5, 0], [0.25, 0, 0.75]]
    assert rows[3].answer is None
    assert notes == (f"{str(path)!r} has columns that are not read: model",)


def test_parquet_has_lists_and_structs(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.parquet",
        [
            {"id": 1, "answers": ["cat", "cat"], "probabilities": None},
            {"id": 2, "answers": None, "probabilities": {"cat": 0.5, "dog": None}},
            {"id": 3, "answers": None, "probabilities": {"cat": None, "dog": None}},
        ],
    )
    rows, _ = read_answers(path, NAMES)
    assert shares(rows[0]) == [1, 0, 0]
    assert rows[1].answer is not None
    assert rows[1].answer.known.tolist() == [True, False, False], "nothing is said of dogs"
    assert rows[2].answer is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["not json"], r"^line 1 of '.*a\.jsonl' is no JSON object: 'not json'; each should be one row"),
        (
            [{"id": 1, "label": "cat"}, "[1, 2]"],
            r"^line 2 of '.*a\.jsonl' is no JSON object: '\[1, 2\]'; each should be one row",
        ),
        ([{"id": 1, "lable": "cat"}], "has no answers: its columns are id, lable, and one should be label, "),
        ([{"label": "cat"}], "does not say which sample an answer is for: its columns are label"),
        ([{"id": 1, "label": "cat", "answers": ["cat"]}], "row 1 of .* has label and answers, which are two"),
        (
            [{"id": 1, "probabilities": {}, "probabilities.cat": 1}],
            "has probabilities in one column and in a",
        ),
        ([{"text": 3, "label": "cat"}], "the text in row 1 of .* is 3, which is no text"),
        ([{"id": 1, "label": "cat"}, {"id": 2, "label": "cow"}], "unknown class in row 2 of .*: 'cow'"),
    ],
)
def test_what_is_no_file_of_answers(rows: list[Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=message):
        read_answers(written(tmp_path / "a.jsonl", rows), NAMES)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"^there is no file of answers '.*b\.jsonl'$"):
        read_answers(tmp_path / "b.jsonl", NAMES)


def test_a_file_is_known_by_its_name() -> None:
    assert all(map(is_answers, ("a.jsonl", "b/c.CSV", "runs/x.parquet", "x.json")))
    assert not any(map(is_answers, ("runs/teacher", "a.safetensors", 'ensemble("a.csv", "b.csv")', "cnn")))


def test_the_classes_of_a_file_are_in_the_natural_order(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl",
        [
            {"id": 1, "label": "c10"},
            {"id": 2, "answers": ["c9", "c10"]},
            {"id": 3, "logprobs": {"c1": -1}},
            {"id": 4, "logits": [1, 2]},
            {"id": 5, "logits": {"Dog": 1}},
        ],
    )
    assert classes_in(path) == ("c1", "c9", "c10", "Dog")
    flat = written(tmp_path / "a.csv", ["id,logprobs.b,logprobs.a", "1,-1,"])
    assert classes_in(flat) == ("b",)
