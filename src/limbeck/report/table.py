"""Tables, for a page and for a terminal alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from limbeck.studies.statistics import summarize
from limbeck.tasks.wording import Cell

_NUMBER = r"[+-]?[\d.,:]+"
_FIGURE = re.compile(rf"{_NUMBER}( (±|to) {_NUMBER})?( \({_NUMBER} to {_NUMBER}\))?( s| ?%)?")


@dataclass(frozen=True)
class Table:
    """Rows under column names; the first cell of a row names it.

    `links` has addresses that a page gives to those names.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: str = ""
    links: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"a row of {self.caption!r} has {len(row)} cells for {len(self.columns)} columns"
                )


def spread(values: Iterable[float | None], digits: int) -> str | None:
    """Mean of the values that there are, of several with the standard deviation: `79.0 ± 1.6`; or None."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    summary = summarize(known)
    return f"{summary.mean:.{digits}f}" + ("" if summary.sd is None else f" ± {summary.sd:.{digits}f}")


def aligned(table: Table) -> list[str]:
    """`number` or `text` for each column: figures stand under each other, words begin at the left."""
    return [
        "number" if number and all(_is_figure(row[number]) for row in table.rows) else "text"
        for number in range(len(table.columns))
    ]


def _is_figure(cell: Cell) -> bool:
    return not isinstance(cell, str) or _FIGURE.fullmatch(cell) is not None
