"""What is wrong with a JSON file, in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.data.files.json_lines import problem
from limbeck.data.files.rows import read
from limbeck.errors import LimbeckError

ROW = '{"text": "a", "label": "x"}'
EACH = '; each should be one row, {"COLUMN": VALUE, ...}'


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.jsonl", f"{ROW}\n{ROW}\n{ROW}\n[1, 2]\n", "line 4 of {} is no JSON object: '[1, 2]'" + EACH),
        ("a.jsonl", f'{ROW}\n\n"b"\n', "line 3 of {} is no JSON object: '\"b\"'" + EACH),
        ("a.jsonl", f"{ROW},\n{ROW}\n", f"line 1 of {{}} is no JSON object: {ROW + ','!r}" + EACH),
        ("a.jsonl", f"{ROW}\n{'9' * 70}\n", f"line 2 of {{}} is no JSON object: '{'9' * 60}...'" + EACH),
        ("a.jsonl", f"[1]\n{ROW}\n", "line 1 of {} is no JSON object: '[1]'" + EACH),
        ("a.json", f"[\n{ROW},\n7\n]", "item 2 of {} is no JSON object: '7'" + EACH),
        (
            "a.json",
            f"[\n{ROW},\n{{]\n",
            "{} is no JSON: expecting property name enclosed in double quotes in line 3",
        ),
        (
            "a.jsonl",
            f'{ROW}\n{{"text": 3, "label": null}}\n',
            "the column 'text' of {} has a number in line 2, 3, and text in line 1; write all its values "
            "alike",
        ),
        ("a.jsonl", f'{ROW}\n{{"text": "b", "label": null, "more": 1}}\n', None),
        ("a.json", f"[\n{ROW},\n{ROW}\n]", None),
        ("a.csv", "no json", None),
    ],
)
def test_the_first_line_that_is_wrong(name: str, text: str, expected: str | None, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text)
    where = repr(str(file))
    assert problem([tmp_path / "none.json", file]) == (expected and expected.replace("{}", where, 1))


@pytest.mark.parametrize("line", ["[1, 2]", "7", '{"text": "a", "label"'])
def test_the_reader_of_rows_says_so(line: str, tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text(f"{ROW}\n{line}\n")
    with pytest.raises(LimbeckError, match=r"^line 2 of '.*train\.jsonl' is no JSON object: "):
        list(read("", tmp_path)["train"].batches())
