"""Lines of the files of collections: texts as JSON, judgments and rankings as columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from limbeck.data.storage.many_texts import TextsByName
from limbeck.errors import LimbeckError
from limbeck.files import parse_json


def texts_in(file: Path, *, titled: bool = False) -> tuple[Mapping[str, str], list[str]]:
    """The texts of a file of JSON lines, by id, and the ids of those that are empty.

    Args:
        file: lines such as {"_id": "7", "title": "...", "text": "..."}.
        titled: whether a title stands before the text, after which a space comes.
    Raises:
        LimbeckError: naming the line, if it is no JSON, has no id or an id that another line has, or no text.
    """
    found, empty = TextsByName(), []
    for number, line in _lines(file):
        try:
            record = parse_json(line)
        except ValueError as error:
            raise LimbeckError(f"line {number} of {str(file)!r} is no JSON: {error}") from None
        if not isinstance(record, dict) or "_id" not in record:
            raise LimbeckError(f'line {number} of {str(file)!r} has no "_id"')
        known = str(record["_id"])
        parts: list[Any] = [record.get("title") or "", record.get("text")] if titled else [record.get("text")]
        if not all(isinstance(part, str) for part in parts):
            raise LimbeckError(f'line {number} of {str(file)!r} has no "text"')
        if known in found:
            raise LimbeckError(
                f"line {number} of {str(file)!r} has the id {known!r}, which another line before it has; "
                "give each its own"
            )
        text = " ".join(part.strip() for part in parts if part.strip())
        found.add(known, text)
        if not text:
            empty.append(known)
    if not found:
        raise LimbeckError(f"{str(file)!r} holds no texts")
    return found, empty


def judgments_in(file: Path) -> Iterator[tuple[str, str, int, str]]:
    """Query, document, grade and place of each judgment.

    Args:
        file: tab-separated `query-id corpus-id score` under a header, as BEIR has it; or the four columns of
            TREC, query, iteration, document, grade.
    Raises:
        LimbeckError: naming the line, if it has other columns, or a grade that is no whole number.
    """
    for number, line in _lines(file):
        columns = line.split("\t") if "\t" in line else line.split()
        columns = [each.strip() for each in columns if each.strip()]
        if number == 1 and columns[-1].lower() in ("score", "grade", "relevance"):
            continue
        place = f"line {number} of {str(file)!r}"
        if len(columns) not in (3, 4):
            raise LimbeckError(
                f"{place} has {len(columns)} columns, and a judgment is query, document and score, or query, "
                "0, document and grade as TREC writes it"
            )
        try:
            grade = int(columns[-1])
        except ValueError:
            raise LimbeckError(f"{place} has the grade {columns[-1]!r}, not a whole number") from None
        yield columns[0], columns[-2], max(grade, 0), place


def ranking_in(file: Path) -> dict[str, list[str]]:
    """Documents by query, in the order of their ranks.

    Args:
        file: the six columns of a TREC run, query, Q0, document, rank, score, name.
    Raises:
        LimbeckError: naming the line, if it has other columns, or a rank that is no number.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    for number, line in _lines(file):
        columns = line.split()
        if len(columns) != 6 or not columns[3].isdecimal():
            raise LimbeckError(
                f"line {number} of {str(file)!r} should be query, Q0, document, rank, score and name, as "
                "TREC writes a run"
            )
        found.setdefault(columns[0], []).append((int(columns[3]), columns[2]))
    return {query: [document for _, document in sorted(ranked)] for query, ranked in found.items()}


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, counted from 1."""
    if not file.is_file():
        raise LimbeckError(f"there is no file {str(file)!r}")
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise LimbeckError(f"{str(file)!r} is not UTF-8: {error}") from None
