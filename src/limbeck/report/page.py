"""One self-contained HTML page of paragraphs, tables and charts: no network, both themes, paper and phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from limbeck.report.chart import Chart, data_table, figure, looks
from limbeck.report.table import Table, aligned, show

Block: TypeAlias = "str | Table | Chart"
"""What a section is made of; a str is a paragraph."""


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading of its own."""

    heading: str
    body: Sequence[Block] = field(default_factory=tuple)


def page(title: str, lead: str, sections: Sequence[Section], facts: Mapping[str, str]) -> str:
    """The page as HTML.

    Args:
        title: of the page and its first heading.
        lead: what it found, in a sentence or two.
        sections: in order. A series has the same colour in all charts of the page, by its name.
        facts: what was measured and how, as names and values under the lead.
    Returns: a whole document; every text in it is escaped.
    """
    charts = [block for section in sections for block in section.body if isinstance(block, Chart)]
    environment = Environment(
        loader=PackageLoader("limbeck.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(show=show, aligned=aligned, data_table=data_table, figure=figure)
    environment.tests.update(table=lambda block: isinstance(block, Table))
    return environment.get_template("page.html.jinja").render(
        title=title,
        lead=lead,
        sections=sections,
        facts=facts,
        looks=looks(charts),
        plotly=Markup(get_plotlyjs()) if charts else "",
        version=version("limbeck"),
    )
