"""metrics.jsonl: one line an epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.files import write_text


class History:
    """Appends lines to a file, or to nothing.

    Args:
        path: of the file; None keeps count only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.lines = 0
        self.last: Mapping[str, Any] = {}

    def add(self, line: Mapping[str, Any]) -> None:
        """Writes one line at once, so that a crash loses none."""
        self.lines += 1
        self.last = line
        if self._path:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def rewind(self, lines: int) -> None:
        """Forgets what was written after the first `lines` lines."""
        self.lines = lines
        if self._path and self._path.exists():
            kept = self._path.read_text(encoding="utf-8").splitlines(keepends=True)[:lines]
            write_text(self._path, "".join(kept))


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
            line = json.loads(written)
        except ValueError:
            line = None
        if isinstance(line, dict):
            lines.append({"phase" if key == "stage" else key: value for key, value in line.items()})
        else:
            skipped += 1
    return lines, skipped
