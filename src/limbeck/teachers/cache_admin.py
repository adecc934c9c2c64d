"""The files of cached teachers: which there are, whether they are sound, and how they are removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import LimbeckError
from limbeck.files import cache_directory
from limbeck.teachers.store import HEADER, SUFFIX, Layout, read_header

_CHUNK = 2**24  # bytes of a file that are looked at together


@dataclass(frozen=True)
class CacheFile:
    """One file, and what was found in it.

    Attributes:
        path: where the file is.
        key: what decides its rows; empty where the head of the file is damaged.
        about: what else is known of the data.
        rows: how many rows are there.
        torn: how many rows were written in part, or damaged since; None if nobody looked.
        bytes: size on disk, which is less than the file's length where nothing was written yet.
    """

    path: Path
    key: dict[str, Any]
    about: dict[str, str]
    rows: int
    torn: int | None
    bytes: int

    @property
    def damaged(self) -> bool:
        """Whether something in it is not as it was written; what is damaged is asked for anew."""
        return not self.key or bool(self.torn)

    @property
    def views(self) -> float:
        """Rows for each sample, on average."""
        return self.rows / self.key["samples"] if self.key else 0.0


def cache_files(name: str | None = None, directory: Path | None = None) -> list[Path]:
    """The files there are, or the one whose name begins like this.

    Raises:
        LimbeckError: if none or several begin so.
    """
    directory = directory or cache_directory() / "teachers"
    found = sorted(directory.glob(f"*{SUFFIX}"))
    if name is None:
        return found
    chosen = [path for path in found if path.stem.startswith(name)] if name else []
    if len(chosen) == 1:
        return chosen
    known = ", ".join(path.stem for path in chosen or found) or "none"
    raise LimbeckError(
        f"{name!r} begins the names of {len(chosen)} caches; say which: {known}"
        if chosen
        else f"there is no cache {name!r} in {str(directory)!r}; there are: {known}"
    )


def examine(path: Path, *, check: bool) -> CacheFile:
    """Counts what is in a file.

    Args:
        path: the file.
        check: whether every row is compared with its checksum.
    """
    disk = path.stat().st_blocks * 512
    header = read_header(path)
    if header is None:
        return CacheFile(path, {}, {}, 0, None, disk)
    layout, rows, torn = Layout(header["key"]["width"]), 0, 0
    file = os.open(path, os.O_RDONLY)
    try:
        mapped = layout.map(file)
        for part in _written(file, len(mapped), layout.row_bytes):
            held = np.array(mapped[part.start : part.stop])
            touched = held.any(1)
            intact = layout.intact(held, np.arange(part.start, part.stop)) if check else touched
            rows += int(intact.sum())
            torn += int((touched & ~intact).sum())
    finally:
        os.close(file)
    return CacheFile(path, header["key"], header.get("about", {}), rows, torn if check else None, disk)


def _written(file: int, rows: int, row_bytes: int) -> Iterator[range]:
    """The rows that lie on the disk, in parts; the holes of a sparse file are passed over."""
    first, step = 0, max(1, _CHUNK // row_bytes)
    while first < rows:
        try:
            begin = os.lseek(file, HEADER + first * row_bytes, os.SEEK_DATA)
        except OSError:  # there is nothing but a hole left
            return
        end = os.lseek(file, begin, os.SEEK_HOLE)
        first = max(first, (begin - HEADER) // row_bytes)
        last = min(rows, -(-(end - HEADER) // row_bytes))
        for start in range(first, last, step):
            yield range(start, min(start + step, last))
        first = last
