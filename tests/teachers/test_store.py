from __future__ import annotations

import copy
import errno
import math
import multiprocessing
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from limbeck.errors import LimbeckError
from limbeck.teachers.store import HEADER, Layout, Store, alike, path_of, read_header

KEY = {"teacher": "t", "views": "none"}
WIDTH = 7
ROW = 2 * WIDTH + 4


def values_of(rows: NDArray[np.int64], width: int = WIDTH) -> NDArray[np.float16]:
    """Numbers that tell rows and places apart."""
    return (rows[:, None] + np.arange(width) / 8).astype(np.float16)


def rows(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "caches" / "some.answers"


def test_what_was_written_is_read_back_in_any_order(path: Path) -> None:
    store = Store(path, KEY, WIDTH)
    asked = rows(5, 0, 900, 6, 2)
    values, there = store.read(asked)
    assert not there.any()
    store.write(asked, values_of(asked))
    for reader in (store, Store(path, KEY, WIDTH), copy.deepcopy(store), pickle.loads(pickle.dumps(store))):
        values, there = reader.read(rows(6, 1, 900, 5, 899, 2, 0))
        assert there.tolist() == [True, False, True, True, False, True, True]
        assert np.array_equal(values[there], values_of(rows(6, 900, 5, 2, 0)))


def test_a_row_of_zeros_is_there_once_it_is_written(path: Path) -> None:
    store = Store(path, KEY, WIDTH)
    store.write(rows(3), np.zeros((1, WIDTH), np.float16))
    assert store.read(rows(2, 3))[1].tolist() == [False, True]


def test_every_value_survives_bit_by_bit(path: Path) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 8)  # nan and infinities too
    store = Store(path, KEY, 8)
    store.write(np.arange(len(every)), every)
    values, there = store.read(np.arange(len(every)))
    assert there.all()
    assert np.array_equal(values.view(np.uint16), every.view(np.uint16))


@pytest.mark.parametrize("torn", range(ROW))
def test_a_torn_row_is_not_there_and_can_be_written_again(path: Path, torn: int) -> None:
    store = Store(path, KEY, WIDTH)
    store.write(rows(0, 1, 2), values_of(rows(0, 1, 2)))
    with path.open("r+b") as file:
        file.seek(HEADER + ROW + torn)
        byte = file.read(1)[0]
        file.seek(HEADER + ROW + torn)
        file.write(bytes([byte ^ 1]))
    assert store.read(rows(0, 1, 2))[1].tolist() == [True, False, True]
    store.write(rows(1), values_of(rows(1)))
    values, there = store.read(rows(0, 1, 2))
    assert there.all()
    assert np.array_equal(values, values_of(rows(0, 1, 2)))


def test_a_row_is_compared_with_its_checksum_until_it_was_right_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    intact = Layout.intact

    def noted(self: Layout, held: Any, places: NDArray[np.int64]) -> Any:
        compared.extend(places.tolist())
        return intact(self, held, places)

    monkeypatch.setattr(Layout, "intact", noted)
    store = Store(path, KEY, WIDTH)
    store.write(rows(0, 2), values_of(rows(0, 2)))
    assert store.read(rows(0, 1, 2))[1].tolist() == [True, False, True]
    assert compared == [0, 1, 2]
    store.write(rows(1, 3), values_of(rows(1, 3)))
    values, there = store.read(rows(3, 2, 1, 0))
    assert there.all()
    assert np.array_equal(values, values_of(rows(3, 2, 1, 0)))
    assert sorted(compared[3:]) == [0, 1, 2, 3], "the file has grown"
    store.read(rows(0, 3, 2, 1))
    assert len(compared) == 7
    os.truncate(path, HEADER)
    store.write(rows(5), values_of(rows(5)))
    assert store.read(rows(0, 5))[1].tolist() == [False, True], "what was lost since is not there"


@pytest.mark.parametrize("width", [4096, 4097, 9000])
def test_the_checksum_of_many_numbers_is_that_of_all(width: int) -> None:
    layout = Layout(width)
    numbers = np.random.default_rng(0).integers(0, 2**16, (3, width)).astype(np.uint16)
    places = rows(0, 5, 7)
    weights = layout._weights
    whole = numbers.astype(np.uint64) @ weights[:width] + places.astype(np.uint64) * weights[-2] + weights[-1]
    expected = (whole >> np.uint64(32)).astype("<u4").view("<u2").reshape(-1, 2)
    assert np.array_equal(layout.checksum(numbers, places), expected)


def test_a_row_in_the_place_of_another_is_not_there(path: Path) -> None:
    Store(path, KEY, WIDTH).write(rows(0, 1), values_of(rows(0, 1)))
    content = path.read_bytes()
    first, second = content[HEADER : HEADER + ROW], content[HEADER + ROW :]
    path.write_bytes(content[:HEADER] + second + first)
    assert not Store(path, KEY, WIDTH).read(rows(0, 1))[1].any()


@pytest.mark.parametrize("left", [0, 1, ROW - 1, ROW, 2 * ROW + 3])
def test_of_a_file_cut_short_the_whole_rows_are_left(path: Path, left: int) -> None:
    Store(path, KEY, WIDTH).write(rows(0, 1, 2), values_of(rows(0, 1, 2)))
    os.truncate(path, HEADER + left)
    store = Store(path, KEY, WIDTH)
    assert store.read(rows(0, 1, 2))[1].tolist() == [left // ROW > row for row in range(3)]
    store.write(rows(0, 1, 2), values_of(rows(0, 1, 2)))
    assert store.read(rows(0, 1, 2))[1].all()


@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 5000, b'{"key": 3}'.ljust(HEADER), b"[1, 2]"])
def test_a_damaged_head_begins_the_file_anew(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"some\.answers' is damaged and begun anew"):
        store = Store(path, KEY, WIDTH)
    store.write(rows(1), values_of(rows(1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Store(path, KEY, WIDTH).read(rows(0, 1))[1].tolist() == [False, True]


@pytest.mark.parametrize("left", [1, 400, 1000, HEADER - 1])
def test_a_head_cut_short_begins_the_file_anew(path: Path, left: int) -> None:
    Store(path, KEY, WIDTH).write(rows(0), values_of(rows(0)))
    os.truncate(path, left)
    assert read_header(path) is None
    with pytest.warns(UserWarning, match="is damaged and begun anew"):
        store = Store(path, KEY, WIDTH)
    assert not store.read(rows(0))[1].any()
    store.write(rows(0), values_of(rows(0)))
    assert store.read(rows(0))[1].all()


@pytest.mark.parametrize(("key", "width"), [({**KEY, "teacher": "other"}, WIDTH), (KEY, 8), ({}, WIDTH)])
def test_a_file_of_another_key_is_refused_and_left(path: Path, key: dict[str, str], width: int) -> None:
    Store(path, KEY, WIDTH).write(rows(1), values_of(rows(1)))
    before = path.read_bytes()
    with pytest.raises(LimbeckError, match="is of another teacher or of other data; remove it, for example"):
        Store(path, key, width)
    assert path.read_bytes() == before


def test_the_head_says_what_the_rows_are(path: Path) -> None:
    Store(path, KEY, WIDTH, {"data": "digits"}, [0.5, -2.0])
    assert read_header(path) == {
        "key": {"format": 2, "width": WIDTH, **KEY},
        "about": {"data": "digits"},
        "probe": [0.5, -2.0],
    }
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(LimbeckError, match="the key of the cache is longer than 4096 bytes"):
        Store(path, {"teacher": "x" * 5000}, WIDTH)


def test_neighbors_are_written_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, calls = Store(path, KEY, WIDTH), []
    pwrite = os.pwrite

    def counted(file: int, content: bytes, place: int) -> int:
        calls.append(((place - HEADER) // ROW, len(content) // ROW))
        return pwrite(file, content, place)

    monkeypatch.setattr(os, "pwrite", counted)
    asked = rows(9, 4, 3, 5, 20, 4)
    store.write(asked, values_of(asked))
    assert calls == [(3, 3), (9, 1), (20, 1)]


def test_a_write_in_pieces_is_finished(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, pwrite = Store(path, KEY, WIDTH), os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, content, place: pwrite(file, content[:5], place))
    store.write(rows(0, 1), values_of(rows(0, 1)))
    values, there = store.read(rows(0, 1))
    assert there.all()
    assert np.array_equal(values, values_of(rows(0, 1)))


def failing(code: int) -> Callable[..., Any]:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


def test_on_a_full_disk_reading_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(path, KEY, WIDTH)
    store.write(rows(0), values_of(rows(0)))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(errno.ENOSPC))
        store.write(rows(1), values_of(rows(1)))
    assert store.problem == "No space left on device"
    store.write(rows(2), values_of(rows(2)))
    assert store.read(rows(0, 1, 2))[1].tolist() == [True, False, False]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_file_that_cannot_be_written_is_read(
    path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(path, KEY, WIDTH).write(rows(0), values_of(rows(0)))
    before, opened = path.read_bytes(), os.open

    def read_only(place: Any, flags: int, *others: Any, **options: Any) -> int:
        return opened(place, flags, *others, **options) if flags == os.O_RDONLY else failing(code)()

    monkeypatch.setattr(os, "open", read_only)
    store = Store(path, KEY, WIDTH)
    assert store.problem == os.strerror(code)
    store.write(rows(1), values_of(rows(1)))
    values, there = store.read(rows(0, 1))
    assert there.tolist() == [True, False]
    assert np.array_equal(values[:1], values_of(rows(0)))
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "some.answers", KEY, WIDTH)
    assert store.problem == "File exists"
    store.write(rows(0), values_of(rows(0)))
    assert not store.read(rows(0))[1].any()


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_has_files_too(
    path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(code))
    for row in (0, 1):
        Store(path, KEY, WIDTH).write(rows(row), values_of(rows(row)))
    assert Store(path, KEY, WIDTH).read(rows(0, 1))[1].all()
    assert list(path.parent.iterdir()) == [path]


# What tells two files of one key apart


@pytest.mark.parametrize(
    ("there", "here", "expected"),
    [
        ([1.0, -200.0, 0.5], [1.5, -199.0, 0.0], True),
        ([1.0, -200.0, 0.5], [4.0, -200.0, 0.5], False),
        ([math.nan, math.inf, 1.0], [math.nan, math.inf, 1.001], True),
        ([math.nan, 1.0], [0.0, 1.0], False),
        ([1.0, 2.0], [1.0], False),
        ([0.0, 0.0], [0.0, 1e-9], False),
        ([], [], True),
    ],
)
def test_probes_are_alike_but_for_rounding(there: list[float], here: list[float], expected: bool) -> None:
    assert alike({"probe": there}, here) is expected


def test_another_probe_has_another_file(tmp_path: Path) -> None:
    def made(*probe: float) -> Path:
        path = path_of(tmp_path, KEY, WIDTH, probe)
        Store(path, KEY, WIDTH, None, probe)
        return path

    first, second, third = made(1.0, 2.0), made(1.0, 2.5), made(3.0, 2.0)
    assert len({first, second, third}) == 3
    assert [made(1.001, 2.0), made(1.0, 2.501), made(3.0, 2.001)] == [first, second, third]
    with pytest.raises(LimbeckError, match="is of another teacher"):
        Store(first, KEY, WIDTH, None, [1.0, 2.5])
    first.write_bytes(b"damaged")
    assert path_of(tmp_path, KEY, WIDTH, [9.0, 9.0]) == first


def _fill(path: Path, start: int) -> None:
    store = Store(path, KEY, WIDTH)
    for row in range(start, 3000, 2):
        store.write(rows(row), values_of(rows(row)))
        if row % 100 == start:
            some = np.arange(row, dtype=np.int64)
            values, there = store.read(some)
            assert np.array_equal(values[there], values_of(some[there]))
            assert there[start::2].all()


def test_several_processes_fill_one_file(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fill, args=(path, start)) for start in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    values, there = Store(path, KEY, WIDTH).read(np.arange(3000))
    assert there.all()
    assert np.array_equal(values, values_of(np.arange(3000)))
    assert list(path.parent.iterdir()) == [path]


def test_a_sparse_file_takes_little_room(path: Path) -> None:
    Store(path, KEY, WIDTH).write(rows(10**9), values_of(rows(1)))
    assert path.stat().st_size > 10**10
    assert path.stat().st_blocks * 512 < 10**5


def test_checksums_differ_where_anything_differs() -> None:
    layout = Layout(WIDTH)
    generator = np.random.default_rng(0)
    numbers = generator.integers(0, 2**16, (20_000, WIDTH)).astype("<u2")
    sums = layout.checksum(numbers, np.arange(20_000)).view("<u4").ravel()
    assert len(np.unique(sums)) >= 20_000 - 2, "about 0.05 pairs of 32 random bits would agree"
    zeros = layout.checksum(np.zeros((20_000, WIDTH), "<u2"), np.arange(20_000)).view("<u4").ravel()
    assert len(np.unique(zeros)) >= 20_000 - 2


def test_pages_of_zeros_take_no_room_and_are_read_as_such(path: Path) -> None:
    width = 40_000
    asked, values = rows(0, 1, 3), np.zeros((3, width), np.float16)
    values[:, :100] = 1
    values[1, 30_000] = -0.0
    store = Store(path, KEY, width)
    store.write(asked, values)
    found, there = Store(path, KEY, width).read(asked)
    assert there.all()
    assert np.array_equal(found.view(np.uint16), values.view(np.uint16))
    assert path.stat().st_blocks * 512 < 50_000 < 3 * 2 * width


def test_zeros_are_written_over_what_is_none(path: Path) -> None:
    width = 40_000
    store = Store(path, KEY, width)
    store.write(rows(0), np.ones((1, width), np.float16))
    with path.open("r+b") as file:  # as after a crash
        file.seek(HEADER)
        file.write(b"\7" * 1000)
    again = Store(path, KEY, width)
    assert not again.read(rows(0))[1].any()
    again.write(rows(0), np.zeros((1, width), np.float16))
    found, there = Store(path, KEY, width).read(rows(0))
    assert there.all()
    assert not found.any()
