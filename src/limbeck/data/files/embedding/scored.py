"""Pairs of sentences with a score, as a source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from limbeck.data.files.embedding.sources import samples_of
from limbeck.data.source import Source
from limbeck.data.split import Split, held_out
from limbeck.data.views import parse
from limbeck.errors import LimbeckError
from limbeck.tasks import Similarity
from limbeck.tasks.parts.vectors import Score

Pair = tuple[str, str, Any]
"""Two sentences and what the data has as their score."""


def scored_source(
    splits: Mapping[str, Sequence[Pair]],
    share: float,
    score: Score,
    vocab_size: int,
    max_length: int,
    *,
    name: str,
) -> Source:
    """The source of scored pairs; equal sentences are one text.

    Args:
        splits: pairs by split, "train" always.
        share: of the pairs that become the test split, and then the validation split, where there is none.
        score: how embeddings are compared, like all that follow as in `from_similarity`.
    Raises:
        LimbeckError: for a score that is no number, naming split and row.
    """
    parts = {split: list(pairs) for split, pairs in splits.items()}
    for split in ("test", "validation"):
        if split in parts or not share or len(parts["train"]) < 2:
            continue
        kept, held = held_out(torch.zeros(len(parts["train"]), dtype=torch.int64), share)
        train = parts["train"]
        parts["train"], parts[split] = ([train[row] for row in rows.tolist()] for rows in (kept, held))
    places: dict[str, int] = {}
    for pairs in parts.values():
        for first, second, _ in pairs:
            places.setdefault(first, len(places))
            places.setdefault(second, len(places))
    learned = {places[text] for first, second, _ in parts["train"] for text in (first, second)}
    samples, facts = samples_of([*places], sorted(learned), vocab_size, max_length)
    made = {}
    for split, pairs in parts.items():
        index = torch.tensor([places[text] for pair in pairs for text in pair[:2]])
        values = torch.tensor(
            [number(pair[2], split, row) for row, pair in enumerate(pairs, 1)], dtype=torch.float64
        )
        targets = torch.stack([torch.arange(len(pairs), dtype=torch.float64), values], 1).repeat_interleave(
            2, 0
        )
        made[split] = Split(samples, targets, index, Similarity, together=2)
    for split in ("validation", "test"):
        if split in made and not made[split].has_labels:
            raise LimbeckError(f"no pair of the {split} split has a score to measure by")
    return Source(
        name=name,
        kind="text",
        train=made["train"],
        validation=made.get("validation"),
        test=made.get("test"),
        task=Similarity(score=score),
        views=parse("none"),
        **facts,
    )


def number(value: Any, split: str, row: int) -> float:
    """A score as a number; NaN for an empty one."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.inf
    if math.isinf(found):
        raise LimbeckError(f"the score of row {row} of the {split} split is {value!r}, not a number")
    return found
