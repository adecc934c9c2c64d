"""What is wrong with a JSON file that the reader of rows refuses, in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_KINDS = {bool: "a truth value", int: "a number", float: "a number", str: "text", list: "a list"}
"""What values are called; a mapping may have other keys in each row, and is not looked at."""


_SHOWN = 60
"""Characters of a line that a message shows."""


def problem(files: Iterable[Path]) -> str | None:
    """The first line that is no row, or has another kind of value in a column than the lines before.

    Args:
        files: of which those in JSON are looked at.
    Returns: a sentence without a full stop; None if nothing is found.
    """
    for file in files:
        if file.suffix.lower() in (".json", ".jsonl") and file.is_file():
            found = _problem(file)
            if found is not None:
                return found
    return None


def _problem(file: Path) -> str | None:
    name, kinds = repr(str(file)), dict[str, tuple[str, str]]()
    try:
        for where, row, text in _rows(file.read_text(encoding="utf-8")):
            if not isinstance(row, dict):
                shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
                return (
                    f"{where} of {name} is no JSON object: {shown!r}; each should be one row, "
                    '{"COLUMN": VALUE, ...}'
                )
            for column, value in row.items():
                kind = _KINDS.get(type(value))
                first, its = kinds.setdefault(column, (where, kind)) if kind else (where, kind)
                if its != kind:
                    return (
                        f"the column {column!r} of {name} has {kind} in {where}, {value!r:.40}, and {its} in "
                        f"{first}; write all its values alike"
                    )
    except json.JSONDecodeError as error:
        return f"{name} is no JSON: {error.msg[0].lower()}{error.msg[1:]} in line {error.lineno}"
    except (UnicodeDecodeError, RecursionError):
        pass
    return None


def _rows(text: str) -> Iterator[tuple[str, Any, str]]:
    """Where each row is, counted from 1, what it is, None if that is no JSON, and how it is written."""
    if text.lstrip().startswith("[") and not _is_json(text.lstrip().splitlines()[0]):  # over several lines
        items = json.loads(text)
        yield from ((f"item {number}", item, json.dumps(item)) for number, item in enumerate(items, 1))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"line {number}", json.loads(line) if _is_json(line) else None, line.strip()


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
