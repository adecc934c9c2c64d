"""Reads `metrics.jsonl`, the history of a run: one line an epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from limbeck.errors import LimbeckError


def read_history(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The lines of a `metrics.jsonl`, and how many could not be read: a crash leaves half a line.

    Raises:
        LimbeckError: the file is not there or cannot be read.
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
            lines.append(line)
        else:
            skipped += 1
    return lines, skipped
