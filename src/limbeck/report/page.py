"""One self-contained HTML page of paragraphs, tables and charts: no network, both themes, paper and phone."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined

from limbeck.report.chart import Chart, HeatMap, data_table
from limbeck.report.figure import figure, looks
from limbeck.report.table import Table, aligned
from limbeck.tasks.wording import show


@dataclass(frozen=True)
class Tile:
    """A figure that the page leads with."""

    label: str
    value: str
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Sample:
    """An input with what was said of it.

    Attributes:
        says: names and values, such as the true class and the student's.
        picture: a data URI of a small image, which is drawn enlarged; or
        text: the input as a text.
        label: what the picture shows, for those who do not see it.
    """

    says: Mapping[str, str]
    picture: str = ""
    text: str = ""
    label: str = ""


@dataclass(frozen=True)
class Gallery:
    """Inputs side by side."""

    samples: Sequence[Sample]
    notes: str = ""


@dataclass(frozen=True)
class Folded:
    """A table that is shown when it is asked for."""

    table: Table


@dataclass(frozen=True)
class Card:
    """A run, with a small picture of how it learned.

    Attributes:
        name: of the run among those beside it.
        value: what it reached.
        note: on what it cost.
        line: (x, y) points in [0, 1], y upward; none for no picture.
        page: a link to its own page; "" for none.
    """

    name: str
    value: str
    note: str
    line: Sequence[tuple[float, float]] = ()
    page: str = ""

    @property
    def path(self) -> str:
        """The points of the line in a box of 100 by 40."""
        return " ".join(f"{100 * x:.1f},{40 - 40 * y:.1f}" for x, y in self.line)


@dataclass(frozen=True)
class Cards:
    """Runs side by side.

    Attributes:
        title: what they have in common.
        cards: the runs.
        lead: what came of all of them.
        series: name of the series in charts whose color they have.
    """

    title: str
    cards: Sequence[Card]
    lead: str = ""
    series: str = ""


LONG, SHOWN = 25, 10
"""A table of more rows than `LONG` shows the first `SHOWN`, and all of them when it is unfolded."""

Block: TypeAlias = "str | Table | Chart | HeatMap | Gallery | Cards | Folded"
"""What a section is made of; a str is a paragraph."""


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading of its own."""

    heading: str
    body: Sequence[Block] = field(default_factory=tuple)


def page(
    title: str,
    lead: str,
    sections: Sequence[Section],
    facts: Mapping[str, str],
    tiles: Sequence[Tile] = (),
) -> str:
    """The page as HTML.

    Args:
        title: title of the page and its first heading.
        lead: what it found, in a sentence or two.
        sections: in order. A series has the same color in all charts of the page, by its name.
        facts: what was measured and how, as names and values under the lead.
        tiles: the figures that say most.
    Returns: a whole document; every text in it is escaped.
    """
    blocks = [block for section in sections for block in section.body]
    charts = [block for block in blocks if isinstance(block, Chart)]
    drawn = any(isinstance(block, (Chart, HeatMap)) for block in blocks)
    script = _environment().get_template("page.js").render()
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            script=script,
            policy=_policy(script, drawn=drawn),
            title=title,
            lead=lead,
            sections=sections,
            facts=facts,
            tiles=tiles,
            looks=looks(charts),
            plotly=_plotly()[0] if drawn else "",
            version=version("limbeck"),
        )
    )


@cache
def _environment() -> Environment:
    """What makes pages of the templates, which it compiles once."""
    environment = Environment(
        loader=PackageLoader("limbeck.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(LONG=LONG, SHOWN=SHOWN)
    environment.filters.update(show=show, aligned=aligned, data_table=data_table, figure=figure)
    kinds = {"table": Table, "heat_map": HeatMap, "gallery": Gallery, "cards": Cards, "folded": Folded}
    environment.tests.update({name: _instance_of(kind) for name, kind in kinds.items()})
    return environment


@cache
def _plotly() -> tuple[str, str]:
    """The library that draws, compressed to two fifths for the page to unpack; and its digest."""
    from plotly.offline import get_plotlyjs  # here: its import takes long

    code = get_plotlyjs()
    return base64.b64encode(gzip.compress(code.encode(), mtime=0)).decode(), _digest(code)


def _policy(script: str, *, drawn: bool) -> str:
    """What a browser may do with the page: run the page's own two scripts and no other, and load nothing."""
    scripts = [_digest(script), *([_plotly()[1]] if drawn else [])]
    allowed = {
        "default-src": "'none'",
        "script-src": " ".join(f"'{digest}'" for digest in scripts),
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in allowed.items())


def _digest(script: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _instance_of(kind: type) -> Callable[[object], bool]:
    return lambda block: isinstance(block, kind)
