"""The runs behind a student, on its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from limbeck.report.page import Block
from limbeck.report.table import Table
from limbeck.runs.lineage import Generation, generations, line, places_of, split_of
from limbeck.runs.result import Result
from limbeck.tasks import Metric
from limbeck.tasks.wording import Cell, axis, figure


def chain(
    result: Result, metric: Metric, environment: Mapping[str, Any] | None = None, home: Path | None = None
) -> list[Block]:
    """The chain of networks that ends with the student; nothing if its teachers are no runs.

    Args:
        result: the run's `result.json`.
        metric: the primary one of its task.
        environment: the run's `environment.json`, which says where its teachers lay.
        home: the directory that the page lies in, for links to those pages of the other runs that are there.
    """
    found = generations(result, metric, places_of(result.teachers, environment))
    if not found:
        return []
    split = split_of(found)
    several = len({each.data for each in found} - {None}) > 1
    rows: list[list[Cell]] = [
        [
            each.name,
            each.model,
            each.parameters,
            each.objective,
            ", ".join(each.taught_by) or None,
            *([each.data] if several else []),
            figure(metric, each.metrics.get(split)),
        ]
        for each in found
    ]
    columns = ["network", "model", "parameters", "objective", "taught by", *(["data"] if several else [])]
    table = Table(
        "Which runs it came from",
        [*columns, f"{split} {axis(metric)}"],
        rows,
        "Each network as its own run has measured it.",
        links=_links(found, home),
    )
    in_a_line = line(found, metric)
    return [*([f"{in_a_line}."] if in_a_line else []), table]


def _links(found: Sequence[Generation], home: Path | None) -> dict[str, str]:
    """The pages of the runs that are there, by the names of the networks."""
    if home is None:
        return {}
    pages = {each.name: f"{each.place}/report.html" for each in found if each.place is not None}
    return {name: quote(page) for name, page in pages.items() if (home / page).is_file()}
