"""What a language model learns from: plain texts, prompts with responses, and chats."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from limbeck.data.files.discover import find, is_split, splits_in
from limbeck.data.files.rows import Rows, portions, read
from limbeck.data.split import copies
from limbeck.errors import LimbeckError, unknown

PLAIN = (".txt", ".text", ".md")
"""The endings of files of plain text."""

FEW = 20
"""Documents from which on whole documents are held out; fewer texts are cut instead."""

HELD_OUT = 0.1
"""Share of the training data that is held out for test, and then of what is left for validation."""


@dataclass(frozen=True)
class Text:
    """A plain text; `ends` says whether it is whole, so that its end is to be learned."""

    text: str
    ends: bool = True


@dataclass(frozen=True)
class Exchange:
    """A prompt and the response to it, which is what is learned."""

    prompt: str
    response: str


@dataclass(frozen=True)
class Chat:
    """Messages with a `role` and a `content` each; those of the role "assistant" are learned."""

    messages: tuple[Mapping[str, str], ...]


Document: TypeAlias = "Text | Exchange | Chat"


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
        if {"prompt", "response"} <= {*there}:
            return Columns(prompt="prompt", response="response")
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
        found = {split: [*_texts(some, separator)] for split, some in files.items()}
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
    return _completed(found)


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


def _texts(files: Sequence[Path], separator: str | None) -> Iterator[Text]:
    for file in files:
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
            value = json.loads(value)
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
    return tuple({"role": each["role"], "content": each["content"]} for each in value)


def _completed(found: dict[str, list[Document]]) -> dict[str, list[Document]]:
    """The splits, with validation and test held out of the training documents where they are missing."""
    train = found["train"]
    missing = [split for split in ("test", "validation") if split not in found]
    if not missing:
        return found
    if len(train) < FEW and all(isinstance(each, Text) for each in train):
        return _cut(found, missing)
    strata = {split: torch.zeros(len(some), dtype=torch.int64) for split, some in found.items()}
    made = portions(strata, HELD_OUT, groups=copies(repr(each).encode() for each in train))
    return {split: [found[of][row] for row in rows.tolist()] for split, (of, rows) in made.items()}


def _cut(found: dict[str, list[Document]], missing: Sequence[str]) -> dict[str, list[Document]]:
    """A part of the end of each training text for each missing split, from the beginning of a line.

    Training would see no end of a text, so that none is to be predicted elsewhere.
    """
    made: dict[str, list[Document]] = {**found, "train": [], **{split: [] for split in missing}}
    for each in found["train"]:
        assert isinstance(each, Text), "only these are cut"
        text = each.text
        for split in missing:
            at = round(len(text) * (1 - HELD_OUT))
            line = text.find("\n", at) + 1 or text.find(" ", at) + 1 or at
            text, part = text[:line], text[line:]
            made[split] += [Text(part, ends=False)] if part.strip() else []
        made["train"].append(Text(text, ends=False))
    for split in missing:
        if not made[split]:
            raise LimbeckError("the text is too short to hold out a part of it for validation and test")
    return made
