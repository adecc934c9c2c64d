from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from limbeck.errors import LimbeckError
from limbeck.teachers.cache_admin import cache_files, examine
from limbeck.teachers.store import HEADER, Store

WIDTH = 7
ROW = 2 * WIDTH + 4


def store(folder: Path, name: str = "some") -> Store:
    return Store(folder / f"{name}.answers", {"samples": 10}, WIDTH, {"data": "digits"})


def write(to: Store, *rows: int) -> None:
    to.write(np.array(rows), np.ones((len(rows), WIDTH), np.float16))


def test_rows_are_counted_where_there_are_some(tmp_path: Path) -> None:
    file = store(tmp_path)
    write(file, *range(15), 300, 10**7, 10**7 + 5)
    for check in (False, True):
        found = examine(file.path, check=check)
        assert (found.rows, found.views) == (18, 1.8)
        assert found.torn == (0 if check else None)
        assert not found.damaged
        assert found.about == {"data": "digits"}
    assert 0 < found.bytes < 10**5 < file.path.stat().st_size


def test_a_file_without_rows_is_sound(tmp_path: Path) -> None:
    found = examine(store(tmp_path).path, check=True)
    assert (found.rows, found.torn, found.damaged) == (0, 0, False)


@pytest.mark.parametrize("chunk", [2**24, ROW, 3 * ROW + 1])
def test_torn_rows_are_found(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limbeck.teachers.cache_admin._CHUNK", chunk)
    file = store(tmp_path)
    write(file, *range(9), 700)
    with file.path.open("r+b") as opened:
        for row, byte in ((2, 3), (5, ROW - 1), (700, 0)):
            opened.seek(HEADER + row * ROW + byte)
            opened.write(b"\x7f")
        opened.seek(HEADER + 20 * ROW)
        opened.write(b"\1" * 10)  # begun, and never finished
    found = examine(file.path, check=True)
    assert (found.rows, found.torn, found.damaged) == (7, 4, True)
    assert examine(file.path, check=False).rows == 11


def test_a_file_that_was_cut_short_has_the_rows_that_are_left(tmp_path: Path) -> None:
    file = store(tmp_path)
    write(file, *range(9))
    os.truncate(file.path, HEADER + 4 * ROW + 3)
    assert examine(file.path, check=True).rows == 4


def test_a_damaged_head_is_said(tmp_path: Path) -> None:
    path = tmp_path / "some.answers"
    whole = store(tmp_path).path.read_bytes()
    for content in (b"", b"nonsense", b'{"key": {}}', whole[:1000], whole[: HEADER - 1]):
        path.write_bytes(content)
        found = examine(path, check=False)
        assert found.damaged
        assert (found.key, found.rows, found.views) == ({}, 0, 0)


def test_a_file_is_named_by_its_beginning(tmp_path: Path) -> None:
    paths = [store(tmp_path, name).path for name in ("ab1", "ab2", "c")]
    (tmp_path / "other.txt").write_text("left alone")
    assert cache_files(directory=tmp_path) == paths
    assert cache_files("ab2", tmp_path) == [paths[1]]
    assert cache_files("c", tmp_path) == [paths[2]]
    with pytest.raises(LimbeckError, match="'ab' begins the names of 2 caches; say which: ab1, ab2"):
        cache_files("ab", tmp_path)
    with pytest.raises(LimbeckError, match=r"there is no cache 'x' in .*; there are: ab1, ab2, c"):
        cache_files("x", tmp_path)
    with pytest.raises(LimbeckError, match="there is no cache ''"):
        cache_files("", tmp_path)
    assert cache_files(directory=tmp_path / "nothing") == []
