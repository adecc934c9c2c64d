"""From documents to tokens, with what of them is learned and the bytes that they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from limbeck.data.language.forms import Chat, Document, Exchange, Text
from limbeck.data.language.token_bytes import token_bytes
from limbeck.data.language.tokenizer import special_ids
from limbeck.data.tokenization import Tokenization
from limbeck.errors import LimbeckError

Ints: TypeAlias = "npt.NDArray[np.int64]"

_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")
"""What begins the assistant's part in a chat template that marks it."""


@dataclass(frozen=True)
class Tokens:
    """A document as tokens.

    Attributes:
        ids: (T,) token ids.
        learned: (T,) bool, the tokens to be predicted.
        bytes: (T,) bytes of text that each stands for; 0 for special tokens.
    """

    ids: Ints
    learned: npt.NDArray[np.bool_]
    bytes: Ints

    def __len__(self) -> int:
        return len(self.ids)


class Encoder:
    """Makes tokens of documents, as one network's tokenizer does.

    Args:
        tokens: the tokenizer.
        join: what is between a prompt and its response.
        chat: whether prompts and responses become messages of a chat.
        ends: whether the end of a document is learned, as the tokenizer's EOS token.
    Attributes:
        special: the ids that stand for no bytes of a text.
    Raises:
        LimbeckError: for a tokenizer that is written in Python, and one without an EOS token where one is
            needed.
    """

    def __init__(self, tokens: Tokenization, *, join: str, chat: bool, ends: bool) -> None:
        self.tokens, self.chat = tokens, chat
        self._place, self._tokenizer = tokens.place, tokens.tokenizer
        self._join, self._ends = join, ends
        if not self._tokenizer.is_fast:
            raise LimbeckError(
                f"the tokenizer of {self._place} is written in Python and does not tell where its tokens are "
                "in a text; give a network with a tokenizer.json"
            )
        self.special = special_ids(tokens)
        self._special = np.array(sorted(self.special), dtype=np.int64)
        self._lengths = _lengths(tokens)

    def end(self, documents: Sequence[Tokens]) -> int | None:
        """The id that ends what a network writes: the last that is learned of each document, if that is one.

        In chats it is the one that the template puts after what the assistant says, which need not be the
        tokenizer's EOS token. That is the end where the documents have none in common.
        """
        last = {int(each.ids[each.learned][-1]) for each in documents if each.learned.any()}
        found = next(iter(last)) if len(last) == 1 and last <= self.special else self._tokenizer.eos_token_id
        return None if found is None else int(found)

    def of(self, tokens: Tokenization) -> Encoder:
        """What makes tokens of the same documents as another tokenizer does.

        Args:
            tokens: the other one.
        """
        return Encoder(tokens, join=self._join, chat=self.chat, ends=self._ends)

    def __call__(self, documents: Sequence[Document]) -> Iterator[Tokens]:
        """The tokens of each document."""
        for document in documents:
            if isinstance(document, Text):
                yield self._text(document)
            elif isinstance(document, Chat):
                yield self._messages([dict(each) for each in document.messages])
            elif self.chat:
                roles = (("user", document.prompt), ("assistant", document.response))
                yield self._messages([{"role": role, "content": content} for role, content in roles])
            else:
                yield self._exchange(document)

    def prompt(self, document: Document) -> list[int]:
        """The ids that a network continues: a prompt, the messages up to the last question, or a text."""
        if isinstance(document, Text):
            return self._begun(document.text).ids.tolist()  # type: ignore[no-any-return]
        if isinstance(document, Exchange) and not self.chat:
            return self._begun(document.prompt + self._join).ids.tolist()  # type: ignore[no-any-return]
        if isinstance(document, Exchange):
            messages = [{"role": "user", "content": document.prompt}]
        else:
            messages = [dict(each) for each in document.messages]
            while messages and messages[-1]["role"] != "user":
                messages.pop()
        return self._encoded(self._rendered(messages, prompt=True)).ids.tolist()  # type: ignore[no-any-return]

    def _text(self, document: Text) -> Tokens:
        made = self._encoded(document.text, special=True)
        return self._ended(made) if document.ends else made

    def _exchange(self, document: Exchange) -> Tokens:
        first = self._begun(document.prompt + self._join)
        second = self._encoded(document.response)
        made = Tokens(
            np.concatenate([first.ids, second.ids]),
            np.concatenate([np.zeros(len(first), dtype=bool), second.learned]),
            np.concatenate([first.bytes, second.bytes]),
        )
        return self._ended(made)

    def _begun(self, text: str) -> Tokens:
        """A text that is to be continued, without the end that a tokenizer may put after it."""
        made, end = self._encoded(text, special=True), self._tokenizer.eos_token_id
        if end is None or made.ids[-1:] != end:
            return made
        return Tokens(made.ids[:-1], made.learned[:-1], made.bytes[:-1])

    def _ended(self, made: Tokens) -> Tokens:
        """The tokens with EOS after them, unless the tokenizer has put it there."""
        if not self._ends:
            return made
        end = self._tokenizer.eos_token_id
        if end is None:
            raise LimbeckError(
                f"the tokenizer of {self._place} names no EOS token, so nothing says where a document ends; "
                "name one in its tokenizer_config.json, or leave ends unlearned, end=false"
            )
        if len(made) and made.ids[-1] == end:
            return made
        return Tokens(np.append(made.ids, end), np.append(made.learned, True), np.append(made.bytes, 0))

    def _encoded(self, text: str, *, special: bool = False) -> Tokens:
        """A text as tokens that are all learned, with or without the special tokens of its tokenizer."""
        found = self._tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
        ids = np.array(found["input_ids"], dtype=np.int64)
        return Tokens(ids, np.ones(len(ids), dtype=bool), self._bytes(text, ids, found["offset_mapping"]))

    def _bytes(self, text: str, ids: Ints, offsets: Sequence[tuple[int, int]]) -> Ints:
        """The bytes of each token.

        Of tokens that share a character the first has all of its bytes, unless the tokenizer tells the bytes
        of each.
        """
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        sizes = 1 + (codes >= 0x80).astype(np.int64) + (codes >= 0x800) + (codes >= 0x10000)
        upto = np.concatenate([[0], sizes.cumsum()])
        ends = np.maximum.accumulate(np.array([end for _, end in offsets], dtype=np.int64).reshape(-1))
        made: Ints = np.diff(upto[ends], prepend=0)
        if self._lengths is not None and len(ids):
            given = self._lengths[ids]
            group = np.maximum((made > 0).cumsum() - 1, 0)  # of tokens that end with the same character
            told = np.bincount(group, given) == np.bincount(group, made)
            made = np.where(told[group], given, made)
        return np.where(np.isin(ids, self._special), 0, made)

    # Chats

    def _rendered(self, messages: Sequence[dict[str, str]], *, prompt: bool = False) -> str:
        try:
            rendered: str = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=prompt
            )
        except Exception as error:  # whatever the template says of the messages
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise LimbeckError(
                f"the chat template of {self._place} does not take these messages: {reason}"
            ) from None
        return rendered

    def _messages(self, messages: Sequence[dict[str, str]]) -> Tokens:
        """A chat as its template renders it; what the assistant says is learned, by every token of it.

        A token that begins before an answer, with the space in front of it, is one of it.
        """
        template = self._tokenizer.chat_template
        if not template:
            raise LimbeckError(
                f"the tokenizer of {self._place} has no chat template, so nothing says how messages become "
                "text; give a network with one, or prompt and response columns"
            )
        text = self._rendered(messages)
        made = self._encoded(text)
        if isinstance(template, str) and _MARKED.search(template):
            found: Any = self._tokenizer.apply_chat_template(
                messages, return_dict=True, return_assistant_tokens_mask=True
            )
            ids = np.array(found["input_ids"], dtype=np.int64)
            if not np.array_equal(ids, made.ids):
                raise LimbeckError(f"the chat template of {self._place} makes other tokens than its own text")
            return replace(made, learned=np.array(found["assistant_masks"], dtype=bool))
        offsets = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        learned = np.zeros(len(made), dtype=bool)
        begins, ends = np.array(offsets["offset_mapping"], dtype=np.int64).reshape(-1, 2).T
        for first, last in self._answers(messages, text):
            learned |= (begins < last) & (ends > first) & (ends > begins)
        return replace(made, learned=learned)

    def _answers(self, messages: Sequence[dict[str, str]], text: str) -> Iterator[tuple[int, int]]:
        """Where in the text the assistant's messages are, by what is rendered up to them.

        Raises:
            LimbeckError: for a template that renders a beginning otherwise than the whole.
        """
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._rendered(messages[:number], prompt=True)
            upto = self._rendered(messages[: number + 1])
            if not (upto.startswith(before) and text.startswith(upto)):
                raise LimbeckError(
                    f"the chat template of {self._place} renders the beginning of a chat otherwise than the "
                    "whole, so the assistant's tokens cannot be told; mark them in the template with "
                    "{% generation %} and {% endgeneration %}"
                )
            yield len(before), len(upto.rstrip())


def _lengths(tokens: Tokenization) -> Ints | None:
    """(V,) the bytes that each id stands for; None for a tokenizer whose tokens do not tell."""
    try:
        return np.array([*map(len, token_bytes(tokens))], dtype=np.int64)
    except LimbeckError:
        return None
