"""Texts of which there may be more than memory holds."""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import torch

from limbeck.growing import Growing

_AT_ONCE = 2**20
"""Bytes that are collected before they are stored."""


class _ByPlace(Sequence[str]):
    """Texts that are made when they are asked for."""

    @abstractmethod
    def text(self, place: int) -> str:
        """The text at a place, counted from 0."""

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        """A text, or some of them in a list."""
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return self.text(range(len(self))[place])


class ManyTexts(_ByPlace):
    """Texts one after the other: their bytes are in memory up to 1 GiB, and in a temporary file beyond it.

    Args:
        texts: the first ones.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes, self._ends = Growing(), array("q", [0])
        self._waiting = bytearray()
        self.extend(texts)

    def extend(self, texts: Iterable[str]) -> None:
        """Takes in texts."""
        for text in texts:
            self._waiting += text.encode("utf-8", "surrogatepass")
            self._ends.append(len(self._bytes) + len(self._waiting))
            if len(self._waiting) >= _AT_ONCE:
                self._store()

    def _store(self) -> None:
        if self._waiting:
            self._bytes.add(torch.frombuffer(self._waiting, dtype=torch.uint8).clone())
            self._waiting = bytearray()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def text(self, place: int) -> str:
        """One text, read where it is stored."""
        self._store()
        found = self._bytes.read()[self._ends[place] : self._ends[place + 1]]
        return found.numpy().tobytes().decode("utf-8", "surrogatepass") if len(found) else ""


class TextsByName(Mapping[str, str]):
    """Many texts, each with a name."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._texts = ManyTexts()

    def add(self, name: str, text: str) -> None:
        """Takes in a text under a new name."""
        self._places[name] = len(self._texts)
        self._texts.extend([text])

    def __getitem__(self, name: str) -> str:
        return self._texts[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: Any) -> bool:
        return name in self._places


class Prompted(_ByPlace):
    """Texts, each behind the prompt of its kind.

    Args:
        texts: without prompts.
        kinds: of each text.
        prompts: by kind; a kind that is not there has none.
    """

    def __init__(self, texts: Sequence[str], kinds: Sequence[str], prompts: Mapping[str, str]) -> None:
        self._texts, self._kinds, self._prompts = texts, kinds, prompts

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, place: int) -> str:
        """One text, with its prompt."""
        return self._prompts.get(self._kinds[place], "") + self._texts[place]
