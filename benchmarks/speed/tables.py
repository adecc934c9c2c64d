"""Markdown: paragraphs and tables."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

PLACES = {"cpu 64": "CPU, batch 64", "cuda 64": "GPU, batch 64", "cuda 512": "GPU, batch 512"}


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], text: str = "") -> list[str]:
    """A heading, a paragraph and a table."""
    lines = [title, ""]
    lines += [*paragraph(text), ""] if text else []
    lines += [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, 108, break_on_hyphens=False)
