"""The rows of a file in which another tool wrote what a language model says of each token of some texts.

Tables are as tools for offline distillation write them, lists of the most probable ids with their
log-probabilities. JSON lines are responses of the API of OpenAI, also those of its batches, and of vLLM.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pyarrow.parquet

from limbeck.data.files.ids import id_of
from limbeck.data.language.token_bytes import token_bytes
from limbeck.data.language.tokenizer import special_ids
from limbeck.data.tokenization import Tokenization
from limbeck.errors import LimbeckError
from limbeck.files import parse_json

IDS = ("topk_ids", "topk_indices", "teacher_topk_ids", "teacher_topk_indices", "sparse_ids")
LOGS = ("topk_logprobs", "teacher_topk_logprobs", "sparse_values")
"""Columns of a table that have the most probable ids of each position, and their log-probabilities."""

PACKED = ("compressed_logprobs", "packed_indices", "bytepacked_indices")
"""Columns of DistillKit's packed form, which says nothing without the settings that it was made with."""

ROUNDING = 0.02
"""How far above 1 a sum of probabilities may be that somebody has rounded."""

Top: TypeAlias = "dict[int, float]"
"""Log-probabilities of some ids."""


class Said(NamedTuple):
    """What a row says of a text.

    Attributes:
        where: the row, for messages.
        sample: the position of the text in the training split; None if the row does not say.
        tokens: ids of the text, or of its response alone.
        whole: whether they are all of the text.
        tops: what was said of each of them by what is before it; None for one of which nothing is said.
    """

    where: str
    sample: int | None
    tokens: list[int]
    whole: bool
    tops: list[Top | None]


class Words:
    """The ids of a tokenizer by what an API calls them.

    Args:
        tokens: the tokenizer.
    """

    def __init__(self, tokens: Tokenization) -> None:
        self.place, tokenizer = tokens.place, tokens.tokenizer
        self._ids: dict[bytes, int] = {}
        for number, text in enumerate(token_bytes(tokens)):
            if text:
                self._ids.setdefault(text, number)
        special = sorted(special_ids(tokens))
        self._special = dict(zip(tokenizer.convert_ids_to_tokens(special), special, strict=True))

    def __call__(self, said: Mapping[str, Any], where: str) -> int:
        """The id of a token as it is in a response: `token`, and its `bytes` if they are given.

        Raises:
            LimbeckError: for one that the tokenizer has not.
        """
        text, given = said.get("token"), said.get("bytes")
        if not isinstance(text, str):
            raise LimbeckError(f"{where} has a token without a text; an API calls it token")
        number = text.removeprefix("token_id:")
        if number != text and number.isdecimal():
            return int(number)
        found = self._ids.get(bytes(given) if given else text.encode(), self._special.get(text))
        if found is None:
            raise LimbeckError(
                f"{where} has the token {text!r}, which the tokenizer of {self.place} does not have; the "
                "file was made with another tokenizer"
            )
        return found


def read_said(path: Path, tokens: Tokenization) -> Iterator[Said]:
    """The rows of a file.

    Args:
        path: a file .jsonl or .parquet.
        tokens: the tokenizer of the data.
    Raises:
        LimbeckError: naming the row and what is wrong in it.
    """
    words = Words(tokens)
    for number, row in enumerate(_rows(path), 1):
        where = f"row {number} of {str(path)!r}"
        if not isinstance(row, dict):
            raise LimbeckError(f"{where} is no JSON object, a response of an API or a row of a table")
        try:
            said = _of_table(row, where) if _has(row, IDS) else _of_response(row, words, where)
        except LimbeckError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError):
            raise LimbeckError(
                f"{where} is in no form that is read: for each token a table has a list of ids and one of "
                "their log-probabilities, and a response of an API an object with its token and its logprob"
            ) from None
        yield said


def _rows(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise LimbeckError(f"there is no file of answers {str(path)!r}")
    if path.suffix.lower() == ".parquet":
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(256):
                    yield from batch.to_pylist()
        except pyarrow.ArrowInvalid as error:
            raise LimbeckError(f"{str(path)!r} is no Parquet file: {error}") from None
        return
    if path.suffix.lower() != ".jsonl":
        raise LimbeckError(
            f"what a language model says of tokens is read from .jsonl and .parquet, not from {str(path)!r}"
        )
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield parse_json(line)
                except (ValueError, RecursionError):
                    raise LimbeckError(f"line {number} of {str(path)!r} is no JSON") from None


def _has(row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of some columns that the row has."""
    return next((name for name in names if row.get(name) is not None), None)


# Tables


def _of_table(row: Mapping[str, Any], where: str) -> Said:
    ids, logs = _has(row, IDS), _has(row, LOGS)
    assert ids is not None
    if logs is None:
        raise LimbeckError(f"{where} has {ids} without log-probabilities; one column should be {LOGS[0]}")
    if [len(each) for each in row[ids]] != [len(each) for each in row[logs]]:
        raise LimbeckError(
            f"{where} has {ids} and {logs} of different lengths; each id has one log-probability"
        )
    if repeated := [each for each in row[ids] if len(set(each)) < len(each)]:
        raise LimbeckError(f"{where} has an id twice in one list of {ids}: {repeated[0]}")
    tops = [
        top(dict(zip(each, values, strict=True)), where)
        for each, values in zip(row[ids], row[logs], strict=True)
    ]
    called = id_of(row.get("id"))
    sample = None if called is None else position(called, where)
    response, inputs = row.get("response_token_ids"), row.get("input_ids")
    if response is not None:
        before = list(row.get("prompt_token_ids") or ())
        if len(tops) != len(response):
            raise LimbeckError(
                f"{where} has {len(response)} response_token_ids and {ids} for {len(tops)} tokens; it should "
                "have them for each"
            )
        return Said(where, sample, [*before, *response], bool(before), [*[None] * len(before), *tops])
    if inputs is None:
        raise LimbeckError(f"{where} does not say which tokens it is about; it should have input_ids")
    if len(tops) not in (len(inputs), len(inputs) - 1):
        raise LimbeckError(
            f"{where} has {len(inputs)} input_ids and {ids} for {len(tops)} positions; it should have what "
            "follows each token"
        )
    return Said(where, sample, list(inputs), True, [None, *tops[: len(inputs) - 1]])


def position(called: Any, where: str) -> int:
    """The position in the training split that a row names.

    Raises:
        LimbeckError: for anything but a number.
    """
    if not str(called).isdecimal():
        raise LimbeckError(
            f"{where} is about {called!r}, and a text of a language model is called by its position in the "
            "training split, from 0"
        )
    return int(called)


def top(given: Mapping[Any, Any], where: str) -> Top:
    """Log-probabilities of some ids.

    Raises:
        LimbeckError: for what is none, and for a sum of probabilities above 1.
    """
    found: Top = {}
    for number, value in given.items():
        if isinstance(number, float):
            raise LimbeckError(f"{where} has the id {number}, which should be a whole number")
        if (
            not isinstance(value, (int, float))
            or isinstance(value, bool)
            or math.isnan(value)
            or value > ROUNDING
        ):
            raise LimbeckError(
                f"{where} gives the id {number} the log-probability {value}, which should be a number of "
                "at most 0; of logits, take the log_softmax"
            )
        found[int(number)] = float(value)
    if sum(map(math.exp, found.values())) > 1 + ROUNDING:
        raise LimbeckError(f"the probabilities of a token in {where} add up to more than 1")
    return found


# Responses of an API


def _of_response(row: Mapping[str, Any], words: Words, where: str) -> Said:
    if (packed := _has(row, PACKED)) is not None:
        raise LimbeckError(
            f"{where} has {packed}, DistillKit's packed form; unpack it with its LogprobCompressor, and "
            "write sparse_ids and sparse_values"
        )
    response = row.get("response")
    body = response.get("body", response) if isinstance(response, dict) else row
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise LimbeckError(
            f"{where} has no answers: it should be a response of an API, with choices and their logprobs, or "
            f"have the columns input_ids, {IDS[0]} and {LOGS[0]}"
        )
    if len(choices) > 1:
        raise LimbeckError(f"{where} has {len(choices)} choices, and a sample is one text; keep one of them")
    (choice,) = choices
    tokens, tops = _written(choice, words, where)
    ids = choice.get("token_ids")
    if ids is not None and len(ids) == len(tops):
        tokens = list(ids)
    prompt = body.get("prompt_token_ids", choice.get("prompt_token_ids"))
    said = body.get("prompt_logprobs", choice.get("prompt_logprobs"))
    if said is not None and (prompt is None or len(prompt) != len(said)):
        raise LimbeckError(
            f"{where} has prompt_logprobs without the prompt_token_ids that they are of; ask vLLM for "
            "return_token_ids=true"
        )
    if not tops and not said:
        raise LimbeckError(
            f"{where} has an answer and no logprobs of it; ask for logprobs=true with top_logprobs=20 or so"
        )
    before: list[Top | None] = [each and top(_numbers(each), where) for each in said or ()]
    before = before or [None] * len(prompt or ())
    called = row.get("custom_id")
    sample = None if called is None else position(called, where)
    return Said(where, sample, [*(prompt or ()), *tokens], prompt is not None, [*before, *tops])


def _numbers(each: Mapping[str, Any]) -> dict[str, Any]:
    """Log-probabilities by id, of what vLLM says of a token of a prompt."""
    return {number: value["logprob"] if isinstance(value, dict) else value for number, value in each.items()}


def _written(choice: Mapping[str, Any], words: Words, where: str) -> tuple[list[int], list[Top | None]]:
    """The tokens of a response and what was said of each."""
    said = choice.get("logprobs") or {}
    content = said.get("content")
    if content is None and "tokens" in said:  # as completions have it
        best = said.get("top_logprobs") or [None] * len(said["tokens"])
        content = [
            {
                "token": token,
                "logprob": value,
                "top_logprobs": [{"token": name, "logprob": each} for name, each in (others or {}).items()],
            }
            for token, value, others in zip(said["tokens"], said["token_logprobs"], best, strict=True)
        ]
    tokens: list[int] = []
    tops: list[Top | None] = []
    for each in content or ():
        tokens.append(words(each, where))
        values = {words(one, where): one.get("logprob") for one in each.get("top_logprobs") or ()}
        if each.get("logprob") is not None:
            values.setdefault(tokens[-1], each["logprob"])
        tops.append(top(values, where) if values else None)
    return tokens, tops
