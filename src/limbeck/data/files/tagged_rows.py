"""Sentences of files and data sets with a sentence a row: a list of words, and a list of tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from limbeck.data.files.rows import Rows
from limbeck.data.files.sentences import Sentence
from limbeck.errors import LimbeckError, unknown
from limbeck.outputs import UNLABELED

WORDS = "tokens"
"""The column of the words where none is named."""

TAGS = ("ner_tags", "tags")
"""What the column of the tags is called where none is named."""


def tags_column(columns: Sequence[str], asked: str | None, name: str, *, tagged: bool) -> str | None:
    """The column of the tags; None where there is none and need not be.

    Args:
        columns: those that there are.
        asked: the one that was named.
        name: of the rows, for messages.
        tagged: whether there must be tags.
    Raises:
        LimbeckError: for a column that is not there, and where none or several are called so.
    """
    if asked is not None:
        if asked not in columns:
            raise unknown(f"column of {name}:", asked, columns)
        return asked
    there = [each for each in TAGS if each in columns]
    if len(there) > 1:
        raise LimbeckError(
            f"{name} has the columns {' and '.join(map(repr, there))}; say which, tags={there[0]!r}"
        )
    if not there and tagged:
        listed = ", ".join(map(repr, columns))
        raise LimbeckError(
            f"{name} has no column {' or '.join(map(repr, TAGS))} but {listed}; name that of the tags, "
            "tags=..., or give the names of the tags, names=[...], to have a teacher answer for it"
        )
    return there[0] if there else None


def sentences(
    rows: Rows, words: str, tags: str | None, names: Sequence[str], *, tagged: bool
) -> Iterator[Sentence]:
    """The sentences of some rows.

    Args:
        rows: of one split.
        words: the column of the words.
        tags: the column of the tags; that of a usual name if None.
        names: names of the tags that numbers stand for; those that the data declares if none are given.
        tagged: whether there must be tags.
    Raises:
        LimbeckError: naming the row, for what is no sentence, or has another number of tags than words.
    """
    number = 0
    for batch in rows.batches():
        if words not in batch:
            raise unknown(f"column of {rows.name}:", words, batch)
        column = tags_column([*batch], tags, rows.name, tagged=tagged)
        declared = tuple(names) or (rows.classes(column) if column else None) or ()
        for place, value in enumerate(batch[words]):
            number += 1
            found = _words(value, words, number, rows)
            given = None if column is None else batch[column][place]
            yield Sentence(
                found,
                None if given is None else _tags(given, column or "", found, declared, number, rows),
                rows.name,
                row=number,
            )


def _words(value: Any, column: str, number: int, rows: Rows) -> tuple[str, ...]:
    where = f"row {number} of {rows.name}"
    if not isinstance(value, (list, tuple)):
        raise LimbeckError(
            f"the column {column!r} holds {value!r:.60} in {where}, and it should be a list of words"
        )
    if not value:
        raise LimbeckError(f"{where} holds no words; leave out sentences that are empty")
    for place, word in enumerate(value, 1):
        if not isinstance(word, str) or not word.strip():
            what = "is empty" if word is None or isinstance(word, str) else f"is {word!r:.60}, no text"
            raise LimbeckError(f"word {place} of {where} {what}")
    return tuple(value)


def _tags(
    value: Any, column: str, words: Sequence[str], declared: Sequence[str], number: int, rows: Rows
) -> tuple[str | None, ...]:
    where = f"row {number} of {rows.name}"
    if not isinstance(value, (list, tuple)):
        raise LimbeckError(
            f"the column {column!r} holds {value!r:.60} in {where}, and it should be a list of tags"
        )
    if len(value) != len(words):
        raise LimbeckError(f"{where} has {len(words)} words and {len(value)} tags; each word has one tag")
    return tuple(
        _tag(tag, column, declared, f"word {place} of {where}") for place, tag in enumerate(value, 1)
    )


def _tag(tag: Any, column: str, declared: Sequence[str], where: str) -> str | None:
    """The name of a tag; None for one that is not known."""
    if tag is None or tag == "" or tag in (UNLABELED, -1):
        return None
    if isinstance(tag, str):
        return tag
    if not isinstance(tag, int) or isinstance(tag, bool):
        raise LimbeckError(
            f"the tag {tag!r:.60} of {where} should be a text, or a number of one that has a name"
        )
    if not declared:
        raise LimbeckError(
            f"the column {column!r} holds numbers, such as {tag} of {where}, and nothing says what they "
            "mean; give the names of the tags in their order, names=[...]"
        )
    if not 0 <= tag < len(declared):
        raise LimbeckError(
            f"the tag {tag} of {where} is out of range: with {len(declared)} names it should be 0 to "
            f"{len(declared) - 1}"
        )
    return declared[tag]


def declared_by(rows: Mapping[str, Rows], tags: str | None) -> tuple[str, ...]:
    """The names of the tags that a data set declares; nothing where it does not."""
    train = rows["train"]
    for column in (tags,) if tags else TAGS:
        if names := train.classes(column):
            return names
    return ()
