"""Pairs and triplets of texts from tables, as a collection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from limbeck.data.files.embedding.collection import Collection, check_parted
from limbeck.data.files.rows import Rows, read
from limbeck.data.files.text import texts_in
from limbeck.errors import LimbeckError, unknown


def read_pairs(
    path: str,
    data_dir: Path | None,
    query: str,
    positive: str,
    negative: Sequence[str],
    negatives: int | None,
) -> tuple[Collection, int]:
    """The collection of the pairs, and how many negatives follow each: the fewest that a row has if None.

    Equal texts are one query, or one document, in whatever row and split they are. A query and a positive
    have the negatives of their rows, and after them those of all rows of the query.

    Args:
        path: as in `from_pairs`, like all that follow.
    Raises:
        LimbeckError: for a column that is not there, an empty text, and a query in two splits.
    """
    columns = (query, positive, *negative)
    judgments: dict[str, dict[str, dict[str, int]]] = {}
    against: dict[str, dict[str, None]] = {}
    beside: dict[tuple[str, str], dict[tuple[str, ...], None]] = {}
    searched: dict[str, dict[str, None]] = {}
    fewest, most, where = math.inf, 0, ""
    found = read(path, data_dir, columns, columns)
    for split, rows in found.items():
        which = "all" if len(found) == 1 else split
        judged, among = judgments.setdefault(which, {}), searched.setdefault(which, {})
        count = 0
        for batch in rows.batches():
            asked, answers = (texts_in(batch, column, rows, count) for column in (query, positive))
            wrong = _negatives(batch, negative, rows, count)
            for row, (one, answer, others) in enumerate(zip(asked, answers, wrong, strict=True), count + 1):
                judged.setdefault(one, {})[answer] = 1
                among |= dict.fromkeys([answer, *others])
                against.setdefault(one, {}).update(dict.fromkeys(others))
                beside.setdefault((one, answer), {})[tuple(others)] = None
                if len(others) < fewest:
                    fewest, where = len(others), f"row {row} of {rows.name}"
                most = max(most, len(others))
            count += len(asked)
    check_parted(judgments, repr(str(path or data_dir)))
    right = {one: its for each in judgments.values() for one, its in each.items()}
    collection = Collection(
        repr(str(path or data_dir)),
        {one: one for each in judgments.values() for one in each},
        {text: text for among in searched.values() for text in among},
        judgments,
        {one: [each for each in others if each not in right[one]] for one, others in against.items()},
        beside,
        searched={split: [*among] for split, among in searched.items() if split != "all"},
    )
    if negatives is not None:
        return collection, negatives
    width = int(min(fewest, most))
    if width < most:
        note = f"{width} negatives follow each positive, as many as {where} has; others have up to {most}"
        collection = replace(collection, notes=(*collection.notes, note))
    return collection, width


def _negatives(
    batch: Mapping[str, Sequence[Any]], columns: Sequence[str], rows: Rows, start: int
) -> list[list[str]]:
    """The negatives of each row: a text in each column, or texts in lists."""
    size = len(next(iter(batch.values())))
    found: list[list[str]] = [[] for _ in range(size)]
    for column in columns:
        if column not in batch:
            raise unknown(f"column of {rows.name}:", column, batch)
        for number, (mine, value) in enumerate(zip(found, batch[column], strict=True), start + 1):
            texts = value if isinstance(value, list) else [value]
            if not all(isinstance(text, str) and text.strip() for text in texts):
                raise LimbeckError(f"the column {column!r} of {rows.name} holds no text in row {number}")
            mine.extend(texts)
    return found
