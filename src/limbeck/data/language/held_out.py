"""What is held out of the documents of a language model for validation and test."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from limbeck.data.files.rows import portions
from limbeck.data.language.forms import Document, Text
from limbeck.data.split import copies
from limbeck.errors import LimbeckError

FEW = 20
"""Documents from which on whole documents are held out; fewer texts are cut instead."""

HELD_OUT = 0.1
"""Share of the training data that is held out for test, and then of what is left for validation."""


def completed(found: dict[str, list[Document]]) -> dict[str, list[Document]]:
    """The splits, with validation and test held out of the training documents where they are missing.

    Raises:
        LimbeckError: for a text that is too short.
    """
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
