"""Which training samples the rows of a file of answers are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from limbeck.data.source import Source
from limbeck.data.split import Split
from limbeck.data.storage.texts import Texts
from limbeck.errors import LimbeckError
from limbeck.teachers.files.reading import Given


@dataclass
class Matched:
    """What a file says of the training samples.

    Attributes:
        of: rows with an answer by sample, where the samples of one text are one: its first position.
        elsewhere: how many rows are about samples of other splits.
        unknown: those about samples that are not in the data.
        empty: how many rows have no answer.
    """

    of: dict[int, list[Given]] = field(default_factory=dict)
    elsewhere: int = 0
    unknown: list[Given] = field(default_factory=list)
    empty: int = 0


class Samples:
    """The samples of a source as a file of answers may name them.

    A text is known by itself, and by its id where the data has a column of them; anything else by its
    position in the training split, counted from 0.

    Args:
        source: the data.
    """

    def __init__(self, source: Source) -> None:
        self._name = source.name
        self._texts, called = _texts(source.train), _ids(source.train)
        first: dict[str, int] = {}
        positions = source.train.index.tolist()
        self.representatives = {
            position: first.setdefault(_key(self._texts[position]), position) if self._texts else position
            for position in positions
        }
        """The position that stands for each: for samples of one text, the first of them."""
        self._of_text = first
        self.has_ids = bool(called)
        """Whether the data has a column of ids."""
        self._of_id = {called[each] if called else str(each): each for each in positions}
        others = [split for split in (source.validation, source.test) if split is not None]
        self._other_texts = {_key(text) for split in others for text in _of(split, _texts(split))}
        self._other_ids = {each for split in others for each in _of(split, _ids(split))}

    def match(self, rows: Sequence[Given]) -> Matched:
        """Finds the sample of each row.

        Raises:
            LimbeckError: for a row that does not say which it is, and one whose id and text are of two.
        """
        found = Matched()
        for row in rows:
            if row.answer is None:
                found.empty += 1
                continue
            position = self._position(row)
            if position is not None:
                found.of.setdefault(self.representatives[position], []).append(row)
            elif self._is_elsewhere(row):
                found.elsewhere += 1
            else:
                found.unknown.append(row)
        return found

    def hint(self, found: Matched) -> str:
        """A clause on ids that the data does not know, and what to do about them; empty without any."""
        row = next((row for row in found.unknown if row.id is not None and row.text is None), None)
        if row is None:
            return ""
        if self.has_ids:
            known = next(iter(self._of_id))
            return f"; the data's ids are such as {known!r}: answers need these, or their texts"
        if not self._texts:
            return "; an id is the position of a sample in the training split, from 0"
        return (
            f'; {row.id!r} is an id, and the data names no column of ids: name it, as in text(id="COLUMN"), '
            "or "
            "give each answer its text"
        )

    def counted(self, rows: Sequence[Given]) -> str | None:
        """A clause on ids that look like the numbers of rows, from 0, where those of the data are others."""
        ids = [row.id for row in rows if row.id is not None and row.text is None]
        numbers = {str(number) for number in range(len(ids))}
        known = {*self._of_id} | self._other_ids
        if not self.has_ids or len(ids) < len(self._of_id) or {*ids} != numbers or known <= numbers:
            return None
        return (
            f"its ids are the numbers from 0 to {len(ids) - 1}, and the data has others, such as "
            f"{min(known - numbers)!r}; if they are the numbers of rows, they name other samples than are "
            "meant: give the answers the data's ids, or their texts"
        )

    def _position(self, row: Given) -> int | None:
        by_text = self._texts and row.text is not None and not (self.has_ids and row.id is not None)
        if by_text:
            assert row.text is not None
            return self._of_text.get(_key(row.text))
        if row.id is None:
            ways = "an id or a text" if self._texts else "an id, its position in the training split"
            raise LimbeckError(f"{row.where} does not say which sample it is about; give it {ways}")
        position = self._of_id.get(row.id)
        if position is None and self._texts and row.text is not None and row.id not in self._other_ids:
            return self._of_text.get(_key(row.text))  # the file counts its rows in a way of its own
        if position is not None and self._texts and row.text is not None:
            there = self._texts[position]
            if _key(there) != _key(row.text):
                raise LimbeckError(
                    f"{row.where} has the text {row.text!r:.60}, and the id {row.id!r} is that of "
                    f"{there!r:.60} in {self._name}; mend one of them, or take the ids out"
                )
        return position

    def _is_elsewhere(self, row: Given) -> bool:
        if self.has_ids and row.id is not None:
            return row.id in self._other_ids
        return row.text is not None and _key(row.text) in self._other_texts


def named_in(source: Source) -> list[Mapping[str, str]]:
    """What a file of answers to fill says of each training sample: its id and, of a text, the text."""
    texts, ids = _texts(source.train), _ids(source.train)
    return [
        {"id": ids[at] if ids else str(at), **({"text": texts[at]} if texts else {})}
        for at in source.train.index.tolist()
    ]


def _texts(split: Split) -> list[str]:
    """The texts by position; nothing for what is no text."""
    return split.samples.texts() if isinstance(split.samples, Texts) else []


def _ids(split: Split) -> list[str]:
    """The ids by position, as the data has them; nothing where it does not."""
    return split.samples.ids() if isinstance(split.samples, Texts) else []


def _of(split: Split, by_position: Sequence[str]) -> list[str]:
    return [by_position[at] for at in split.index.tolist()] if by_position else []


def _key(text: str) -> str:
    """A text without the spaces and the ends of lines that files write in different ways."""
    return " ".join(text.split())
