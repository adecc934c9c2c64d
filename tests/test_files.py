from __future__ import annotations

from pathlib import Path

import pytest

from limbeck.errors import LimbeckError
from limbeck.files import parse_json, replacing, write_text


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            raise KeyError("in the middle")

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def test_folders_are_made_and_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "file.txt", "text")
    assert (tmp_path / "a" / "b" / "file.txt").read_text() == "text"
    with pytest.raises(LimbeckError, match=r"file\.txt/below' cannot be written"):
        write_text(tmp_path / "a" / "b" / "file.txt" / "below", "text")


def test_json_that_is_nested_too_deep_is_no_json() -> None:
    assert parse_json(b'{"a": [1, null]}') == {"a": [1, None]}
    for text in ("[" * 100_000, b"[" * 100_000, "{"):
        with pytest.raises(ValueError, match=r"nested too deep|Expecting property name"):
            parse_json(text)


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    assert parse_json('["\\ud83d\\ude00", "\\\\ud83d"]') == ["\U0001f600", "\\ud83d"]
    for text in ('["a\\ud83d"]', b'{"\\ude00": 1}'):
        with pytest.raises(ValueError, match="it has half of a surrogate pair"):
            parse_json(text)
