"""What a language model learns from: plain texts, prompts with responses, and chats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limbeck.data.files.discover import find, is_split, splits_in
from limbeck.data.files.rows import Rows, read
from limbeck.data.language.forms import Chat, Document, Exchange, Text
from limbeck.data.language.held_out import completed
from limbeck.errors import LimbeckError, unknown
from limbeck.files import parse_json

PLAIN = (".txt", ".text", ".md")
"""The endings of files of plain text."""


@dataclass(frozen=True)
class Columns:
    """Where the documents of a table are; None is decided by the columns that are there.

    Attributes:
        text: column of plain texts.
        prompt: column of prompts.
        response: column of the responses to them.
        messages: column of lists of messages.
    """

    text: str | None = None
    prompt: str | None = None
    response: str | None = None
    messages: str | None = None

    def __post_init__(self) -> None:
        if (self.prompt is None) != (self.response is None):
            raise LimbeckError(
                "a prompt and its response go together; name both columns, prompt and response"
            )
        if sum(each is not None for each in (self.text, self.prompt, self.messages)) > 1:
            raise LimbeckError(
                "name one of text, prompt with response, and messages: a document is one of them"
            )

    @property
    def given(self) -> tuple[str, ...]:
        """The columns that are named."""
        every = (self.text, self.prompt, self.response, self.messages)
        return tuple(each for each in every if each is not None)

    def among(self, there: Sequence[str], name: str) -> Columns:
        """The columns to read of those that are there.

        Args:
            there: names of columns.
            name: of the data, for messages.
        """
        for column in self.given:
            if column not in there:
                raise unknown(f"column of {name}:", column, there)
        if self.given:
            return self
        if "messages" in there:
            return Columns(messages="messages")
        for response in ("response", "completion"):
            if {"prompt", response} <= {*there}:
                return Columns(prompt="prompt", response=response)
        if "text" in there:
            return Columns(text="text")
        raise LimbeckError(
            f"{name} has the columns {', '.join(there)}; say which of them to read: text, prompt and "
            "response, or messages"
        )


def documents(
    path: str, data_dir: Path | None, columns: Columns, separator: str | None
) -> dict[str, list[Document]]:
    """The documents of each split: those of the files, or parts that are held out where a file is missing.

    Args:
        path: a file of plain text or a table, a directory with such files, or a data set of the hub.
        data_dir: the directory that `path` is in.
        columns: what to read of a table.
        separator: what parts the documents of a file of plain text; None for one document a file.
    Raises:
        LimbeckError: for what cannot be read, and for documents that lack a part.
    """
    if separator == "":
        raise LimbeckError("a separator has at least one character; leave it out for one document a file")
    place = find(path, data_dir) if data_dir is not None or Path(path).suffix not in PLAIN else Path(path)
    if place is not None and place.suffix in PLAIN and not place.is_file():
        raise LimbeckError(f"there is no file {str(place)!r}")
    files = {} if place is None else _plain_files(place)
    found: dict[str, list[Document]]
    if files:
        if columns.given:
            raise LimbeckError(
                f"{str(place)!r} is plain text and has no columns; leave out {columns.given[0]!r}"
            )
        texts = {split: [_text(file) for file in some] for split, some in files.items()}
        if separator is not None and not any(separator in text for some in texts.values() for text in some):
            raise LimbeckError(
                f"the separator {separator!r} is nowhere in {str(place)!r}; leave it out for one document a "
                "file"
            )
        found = {split: [*_parts(some, separator)] for split, some in texts.items()}
    else:
        if separator is not None:
            raise LimbeckError(
                "a separator parts files of plain text, and a table has a document in each row"
            )
        # As text, so that a prompt such as "7" stays one.
        found = {
            split: [*_of_rows(rows, columns)] for split, rows in read(path, data_dir, columns.given).items()
        }
    for split, some in found.items():
        if not some:
            raise LimbeckError(f"the {split} split of {path or str(data_dir)!r} holds no document")
    return completed(found)


def _plain_files(place: Path) -> dict[str, list[Path]]:
    """The files of plain text by split; none where there are others."""
    if place.is_file():
        return {"train": [place]} if place.suffix in PLAIN else {}
    every = sorted(file for file in place.iterdir() if file.suffix in PLAIN and not file.name.startswith("."))
    named = {file.stem: file for file in every}
    if any(is_split(stem) for stem in named):
        return {split: [named[stem]] for split, stem in splits_in(named, repr(str(place))).items()}
    tables = any(is_split(file.stem.split("-")[0]) for file in place.iterdir())
    return {"train": every} if every and not tables else {}


def _text(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LimbeckError(
            f"{str(file)!r} is no text in UTF-8: {error.reason} at byte {error.start}"
        ) from None
    except OSError as error:
        raise LimbeckError(f"{str(file)!r} cannot be read: {error.strerror}") from None
    if not text.strip():
        raise LimbeckError(f"{str(file)!r} is empty")
    return text


def _parts(texts: Sequence[str], separator: str | None) -> Iterator[Text]:
    for text in texts:
        parts = [text] if separator is None else [each.strip() for each in text.split(separator)]
        yield from (Text(part) for part in parts if part)


def _of_rows(rows: Rows, columns: Columns) -> Iterator[Document]:
    number = 0
    for batch in rows.batches():
        chosen = columns.among(list(batch), rows.name)
        for values in zip(*(batch[column] for column in chosen.given), strict=True):
            number += 1
            where = f"row {number} of {rows.name}"
            if chosen.messages is not None:
                yield Chat(_messages(values[0], where))
            elif chosen.text is not None:
                yield Text(_filled(values[0], chosen.text, where))
            else:
                prompt, response = (
                    _filled(value, str(name), where)
                    for value, name in zip(values, (chosen.prompt, chosen.response), strict=True)
                )
                yield Exchange(prompt, response)


def _filled(value: Any, column: str, where: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise LimbeckError(f"the column {column!r} is empty in {where}; fill it, or leave the row out")
    if not isinstance(value, str):
        raise LimbeckError(f"the column {column!r} in {where} should be a text, not {value!r:.60}")
    return value


def _messages(value: Any, where: str) -> tuple[Mapping[str, str], ...]:
    if isinstance(value, str):  # a CSV cannot hold a list
        try:
            value = parse_json(value)
        except ValueError:
            value = None
    if not isinstance(value, list) or not value:
        raise LimbeckError(
            f"the messages in {where} should be a list of them, with a role and a content each"
        )
    for each in value:
        plain = isinstance(each, Mapping) and all(
            isinstance(each.get(key), str) for key in ("role", "content")
        )
        if not plain:
            raise LimbeckError(
                f"a message in {where} should have a role and a content, both texts, not {each!r:.60}"
            )
        if each["role"] in ("user", "assistant") and not each["content"].strip():
            raise LimbeckError(
                f"a message of the {each['role']} is empty in {where}; fill it, or leave the row out"
            )
    return tuple({"role": each["role"], "content": each["content"]} for each in value)
