"""A file of float16 rows that several processes fill and read at once.

A header of 4,096 bytes says what the rows are. Row r follows at its place: its numbers, and a checksum of 32
bits over them and r. A row is there if its checksum is right; one that was never written, that a crash has
torn or that went with the end of the file is not there, and can be written again. The file takes no space on
disk where nothing was written, and none for pages of zeros, such as those behind the end of a short text.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from limbeck.errors import LimbeckError
from limbeck.files import parse_json
from limbeck.hashing import mix

HEADER = 4096
SUFFIX = ".answers"
FORMAT = 2
"""Version of the layout, in every key."""

_PAGE = 4096
"""Bytes that a file system keeps together."""

_CHUNK = 4096
"""Numbers of a row that are summed together."""

ROUNDING = 0.01
"""Of the largest number of a probe: how far another machine or precision may be off."""

Key: TypeAlias = "Mapping[str, str | int]"
"""Everything that decides what the rows hold."""


class Layout:
    """How rows of `width` numbers lie in a file.

    Args:
        width: numbers in a row.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.words = width + 2  # of 16 bits; the last two are the checksum
        self.row_bytes = 2 * self.words
        self._weights = mix(width, torch.arange(width + 2)).numpy().view(np.uint64)

    def checksum(self, numbers: NDArray[np.uint16], rows: NDArray[np.int64]) -> NDArray[np.uint16]:
        """The checksums of rows (B, width), given their places (B,): (B, 2).

        A linear hash of the words with 64-bit weights, of which the upper half is kept: another content has
        the same one with a probability of 2**-32. That of zeros is not zero.
        """
        sums = rows.astype(np.uint64) * self._weights[-2] + self._weights[-1]
        for start in range(0, self.width, _CHUNK):  # of many numbers, those that a processor has at hand
            part = slice(start, min(start + _CHUNK, self.width))
            sums += numbers[:, part].astype(np.uint64) @ self._weights[part]
        halves: NDArray[np.uint16] = (sums >> np.uint64(32)).astype("<u4").view("<u2").reshape(-1, 2)
        return halves

    def intact(self, held: NDArray[np.uint16], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the rows (B, words), as they lie in the file, have the right checksum: (B,)."""
        numbers, sums = held[:, : self.width], held[:, self.width :]
        right: NDArray[np.bool_] = (sums == self.checksum(numbers, rows)).all(1)
        return right

    def map(self, file: int) -> NDArray[np.uint16]:
        """The whole rows of an open file, (R, words), mapped for reading."""
        rows = max(0, os.fstat(file).st_size - HEADER) // self.row_bytes
        mapped = mmap.mmap(file, HEADER + rows * self.row_bytes, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, "<u2", rows * self.words, HEADER).reshape(rows, self.words)


class Store:
    """One file, made if there is none.

    A file that cannot be written is read all the same, as far as it is there.

    Args:
        path: where the file is.
        key: everything that decides what the rows hold.
        width: numbers in a row.
        about: what else somebody who lists the files wants to know.
        probe: some numbers, like those in the rows, by which a file of the same key is known again (see
            `alike`).
    Attributes:
        problem: why nothing more is written, if that is so.
    Raises:
        LimbeckError: if the file holds rows of another key, or of another probe.
    """

    def __init__(
        self,
        path: Path,
        key: Key,
        width: int,
        about: Mapping[str, str] | None = None,
        probe: Sequence[float] = (),
    ) -> None:
        self.path, self.width, self._given = path, width, (path, key, width, about, probe)
        self._layout = Layout(width)
        self._rows: NDArray[np.uint16] = np.empty((0, width + 2), "<u2")
        self._sound = np.empty(0, np.bool_)  # the rows whose checksum was right when they were first read
        self._file: int | None = None
        self.problem: str | None = None
        try:
            _find_or_make(path, {"format": FORMAT, "width": width, **key}, about or {}, probe)
            self._file, self.problem = _opened(path)
            weakref.finalize(self, os.close, self._file)
        except OSError as error:
            self.problem = error.strerror

    def read(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """What rows (B,) hold, (B, width), and which of them are there, (B,).

        A process compares a row with its checksum until it was right once, and again when the file has grown.
        """
        if self._file is not None and len(rows) and rows.max() >= len(self._rows):
            self._rows = self._layout.map(self._file)  # it may have grown since
            self._sound = np.zeros(len(self._rows), np.bool_)
        reached = rows < len(self._rows)
        held = np.zeros((len(rows), self._layout.words), "<u2")
        held[reached] = self._rows[rows[reached]]
        there = reached.copy()
        there[reached] = self._sound[rows[reached]]
        unsure = reached & ~there
        there[unsure] = self._layout.intact(held[unsure], rows[unsure])
        self._sound[rows[there]] = True
        return held[:, : self._layout.width].view("<f2"), there

    def write(self, rows: NDArray[np.int64], values: NDArray[np.float16]) -> None:
        """Puts `values` (B, width) in rows (B,). Neighbors are written together."""
        if self._file is None or self.problem or not len(rows):
            return
        rows, first = np.unique(rows, return_index=True)
        numbers = np.ascontiguousarray(values[first], "<f2").view("<u2")
        whole = np.concatenate([numbers, self._layout.checksum(numbers, rows)], axis=1)
        try:
            for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
                self._put(whole[run].tobytes(), HEADER + int(rows[run[0]]) * self._layout.row_bytes)
        except OSError as error:
            self.problem = error.strerror

    def _put(self, content: bytes, place: int) -> None:
        # Not through a writable map: where the disk is full, that kills the process.
        assert self._file is not None
        for start, end, empty in _stretches(content, -place % _PAGE):
            part, at = content[start:end], place + start
            if empty and not os.pread(self._file, len(part), at).strip(b"\0"):
                continue  # it reads as zeros already
            while part:
                written = os.pwrite(self._file, part, at)
                part, at = part[written:], at + written

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, self._given  # a copy, in another process say, opens the file anew


def read_header(path: Path) -> dict[str, Any] | None:
    """What the head of a file says of its rows; None if it is none of ours, cut short or damaged."""
    with path.open("rb") as file:
        head = file.read(HEADER)
    try:
        header = parse_json(head) if len(head) == HEADER else None
    except ValueError:
        return None
    key = header.get("key") if isinstance(header, dict) else None
    return header if isinstance(key, dict) and isinstance(key.get("width"), int) else None


def alike(header: Mapping[str, Any], probe: Sequence[float]) -> bool:
    """Whether a file's probe is this one, but for what the rounding of another machine does to it."""
    there, here = np.array(header.get("probe", ()), float), np.array(probe, float)
    if there.shape != here.shape:
        return False
    size = np.abs(there[np.isfinite(there)]).max(initial=0.0)
    return np.allclose(there, here, rtol=0, atol=ROUNDING * size, equal_nan=True)


def path_of(directory: Path, key: Key, width: int, probe: Sequence[float]) -> Path:
    """Where the file of a key and a probe is, or is to be: that of another probe is passed over."""
    others = 0
    while True:
        name = hashlib.sha256(json.dumps([FORMAT, key, width, others]).encode()).hexdigest()[:12]
        path = directory / f"{name}{SUFFIX}"
        try:
            header = read_header(path)
        except OSError:  # there is none, or none that can be read
            return path
        if header is None or alike(header, probe):
            return path
        others += 1


def _stretches(content: bytes, first: int) -> Iterator[tuple[int, int, bool]]:
    """The parts of some bytes that are whole pages of zeros, and what is between them: start, end, and which.

    Args:
        content: the bytes.
        first: where in them a page begins.
    """
    whole = np.frombuffer(content, np.uint8)[first:]
    empty = ~whole[: len(whole) // _PAGE * _PAGE].reshape(-1, _PAGE).any(1)
    kinds = np.pad(empty, 1)  # what is before and after the whole pages is none
    start = 0
    for number, (last, kind) in enumerate(pairwise(kinds)):
        place = first + number * _PAGE
        if kind != last and start < place:
            yield start, place, bool(last)
            start = place
    if start < len(content):
        yield start, len(content), False


def _opened(path: Path) -> tuple[int, str | None]:
    """A file to read and write; if it can only be read, why it cannot be written."""
    try:
        return os.open(path, os.O_RDWR), None
    except OSError as error:
        return os.open(path, os.O_RDONLY), error.strerror


def _find_or_make(path: Path, key: Key, about: Mapping[str, str], probe: Sequence[float]) -> None:
    """Sees to it that the file is there and the right one; one with a damaged head is begun anew."""
    header = json.dumps({"key": dict(key), "about": dict(about), "probe": list(probe)}).encode()
    if len(header) > HEADER:
        raise LimbeckError(f"the key of the cache is longer than {HEADER} bytes: {key!r:.200}")
    if path.exists() and read_header(path) is None:
        warnings.warn(f"the cache {str(path)!r} is damaged and begun anew", stacklevel=4)
        path.unlink(missing_ok=True)
    if not path.exists():
        _make(path, header.ljust(HEADER))
    found = read_header(path)
    if found is None or found["key"] != key or not alike(found, probe):
        raise LimbeckError(
            f"the cache {str(path)!r} is of another teacher or of other data; remove it, for example with "
            f"`limbeck cache clear {path.stem}`"
        )


def _make(path: Path, header: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(header)
        try:
            os.link(fresh, path)  # unlike a rename, spares the file of a process that was quicker
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with path.open("xb") as file:
                file.write(header)
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)
