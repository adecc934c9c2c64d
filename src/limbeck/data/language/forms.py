"""The forms of documents that a language model learns from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


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
