"""metrics.jsonl: one line an epoch."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.files import parse_json, write_text


class History:
    """Appends lines to a file, or to nothing.

    What cannot be written, on a full disk say, is written with the next line that can.

    Args:
        path: of the file; None keeps the lines only.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._all = self._there()
        self._written = len("".join(self._all).encode())  # bytes in the file that are whole lines
        self.last: Mapping[str, Any] = {}

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return len(self._all)

    def add(self, line: Mapping[str, Any]) -> None:
        """Writes one line at once, so that a crash loses none.

        Raises:
            LimbeckError: if it cannot be written; it is not lost.
        """
        self._all.append(json.dumps(line) + "\n")
        self.last = line
        if self.path:
            self._write(self.path)

    def _write(self, path: Path) -> None:
        content = "".join(self._all).encode()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            there = path.stat().st_size if path.exists() else 0
            begun = self._written if there >= self._written else 0  # else somebody has removed it
            with path.open("r+b" if there else "wb", buffering=0) as file:
                file.truncate(begun)  # also of half a line that did not fit
                file.seek(begun)
                written = file.write(content[begun:])
                if written < len(content) - begun:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._written = len(content)
        except OSError as error:
            with suppress(OSError):
                os.truncate(path, self._written)
            raise LimbeckError(f"{str(path)!r} cannot be written: {error.strerror}") from error

    def flush(self) -> None:
        """Has what is written reach the disk, so that no checkpoint outlives the lines that it counts."""
        if self.path and self._all:
            self._write(self.path)
            with self.path.open("rb") as file:
                os.fsync(file.fileno())

    def rewind(self, lines: int) -> None:
        """Forgets what was written after the first `lines` lines."""
        self._all = self._there()[:lines]
        content = "".join(self._all)
        self._written = len(content.encode())
        if self.path and self.path.exists():
            write_text(self.path, content)

    def _there(self) -> list[str]:
        if self.path is None or not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8", errors="replace")
        return text.splitlines(keepends=True)


def read_history(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The lines of a `metrics.jsonl`, and how many could not be read: a crash leaves half a line.

    Lines of older runs have the name of the phase under "stage"; here it is always under "phase".

    Raises:
        LimbeckError: if the file is not there or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LimbeckError(f"the history {path} cannot be read: {error.strerror}") from error
    lines: list[dict[str, Any]] = []
    skipped = 0
    for written in filter(str.strip, text.splitlines()):
        try:
            line = parse_json(written)
        except ValueError:
            line = None
        if isinstance(line, dict):
            lines.append({"phase" if key == "stage" else key: value for key, value in line.items()})
        else:
            skipped += 1
    return lines, skipped
