"""The part of a run's page on what language models write."""

from __future__ import annotations

from limbeck.evaluation.results import Evaluation
from limbeck.report.page import Block
from limbeck.report.table import Table
from limbeck.tasks.wording import Cell


def written(found: Evaluation) -> list[Block]:
    """A table with the beginning of each text and how each network goes on."""
    its = found.written
    if its is None:
        return []
    rows: list[list[Cell]] = [
        [beginning, *(texts[number] for texts in its.texts.values())]
        for number, beginning in enumerate(its.beginnings)
    ]
    notes = "Each token is the most probable one; a text ends where the network ends it, or after 64 tokens."
    return [Table("Beginnings of held-out texts, and what follows", ["beginning", *its.texts], rows, notes)]
