"""Sentences of CoNLL files: a word a line, its columns parted by white space, and an empty line after a
sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from limbeck.data.files.sentences import Sentence
from limbeck.errors import LimbeckError

SUFFIXES = (".conll", ".conll03", ".bio", ".iob", ".iob2", ".txt")
"""The endings by which such files are found in a directory."""

DOCUMENT = "-DOCSTART-"
"""The first column of a line that begins a document, which is no word."""


def sentences(files: Sequence[Path], column: int, *, tagged: bool) -> Iterator[Sentence]:
    """The sentences of some files, one after the other.

    Args:
        files: of one split.
        column: the column of the tags, counted from 0, or from the end.
        tagged: whether the files must have tags; otherwise a file of words alone has none.
    Raises:
        LimbeckError: naming file and line, for lines of different numbers of columns and for a column that is
            not there; for a file without words, or without tags where they must be.
    """
    for file in files:
        columns = _columns_in(file)
        if not columns:
            raise LimbeckError(f"{str(file)!r} holds no words")
        if columns == 1 and tagged:
            raise LimbeckError(
                f"{str(file)!r} has one column, of words, and no tags; give the names of the tags, "
                "names=[...], to have a teacher answer for it"
            )
        place = None if columns == 1 else column if column >= 0 else columns + column
        if place is not None and not 0 < place < columns:
            raise LimbeckError(
                f"the lines of {str(file)!r} have {columns} columns, and column={column} is none of the "
                f"tags; the word is column 0, and tags may be in 1 to {columns - 1}, or -1 for the last"
            )
        for first, lines in _blocks(file):
            for number, line in enumerate(lines, first):
                if len(line) != columns:
                    raise LimbeckError(
                        f"line {number} of {str(file)!r} has {_counted(len(line))}, and the lines before it "
                        f"have {columns}; each word has one tag"
                    )
            yield Sentence(
                tuple(line[0] for line in lines),
                None if place is None else tuple(line[place] for line in lines),
                repr(str(file)),
                line=first,
            )


def _columns_in(file: Path) -> int:
    """How many columns the first word has; 0 in a file without words."""
    return next((len(lines[0]) for _, lines in _blocks(file)), 0)


def _blocks(file: Path) -> Iterator[tuple[int, list[list[str]]]]:
    """The lines of each sentence, as columns, with the number of the first, from 1."""
    lines: list[list[str]] = []
    first = 0
    try:
        with file.open(encoding="utf-8-sig") as opened:
            for number, text in enumerate(opened, 1):
                line = re.split(r"[ \t]+", text.strip(" \t\r\n"))
                if line == [""] or line[0] == DOCUMENT:
                    if lines:
                        yield first, lines
                    lines = []
                else:
                    first = first if lines else number
                    lines.append(line)
    except UnicodeDecodeError as error:
        raise LimbeckError(f"{str(file)!r} is no text in UTF-8: {error.reason}") from None
    if lines:
        yield first, lines


def _counted(columns: int) -> str:
    return "1 column" if columns == 1 else f"{columns} columns"
