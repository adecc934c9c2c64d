"""A student that a test names by its module."""

from __future__ import annotations

from limbeck.models import Transformer


def reader() -> Transformer:
    return Transformer(4, 2, 2, dropout=0.0, vocab_size=9, num_classes=3)
