"""The runs of a study as a gallery: a picture of how each learned, what it reached, and its own page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from limbeck.report.page import Block, Card, Cards
from limbeck.report.study_tables import signed, verdict
from limbeck.report.table import spread
from limbeck.studies.cells import Cell
from limbeck.studies.outcome import Compared, Group
from limbeck.studies.records import CellRecord
from limbeck.tasks.wording import axis, digits, told, unit_of_difference


def pages_of(cells: Iterable[Cell], folder: Path) -> dict[str, str]:
    """The pages that runs have written, by the keys of their cells, as links from a page in `folder`."""
    links = {}
    for cell in cells:
        if (file := cell.path / "report.html").is_file():
            links[cell.key] = quote(Path(os.path.relpath(file, folder)).as_posix())
    return links


def runs_of(group: Group, pages: Mapping[str, str]) -> list[Block]:
    """The teachers of a pair that the study trained, and the students of each objective.

    Args:
        group: the pair.
        pages: links to the pages of runs, by the keys of their cells; runs without one are shown too.
    """
    students = [record for each in group.compared.values() for record in each.records.values()]
    ends = _ends(group, [*group.teachers.values(), *students])
    made: list[Block] = [_said(group, ends)] if ends is not None else []
    if group.teachers:
        cards = [
            _card(group, name, record, ends, pages.get(f"teachers/{name}"))
            for name, record in group.teachers.items()
        ]
        made.append(Cards("Teachers", cards))
    for name, each in group.compared.items():
        cards = [
            _card(group, f"seed {seed}", record, ends, pages.get(each.keys.get(seed, "")))
            for seed, record in each.records.items()
        ]
        made.append(Cards(name, cards, _outcome(group, each), series=name))
    return made


def _said(group: Group, ends: tuple[float, float]) -> str:
    low, high = (told(group.metric, end) for end in ends)
    label = group.metric.label
    return f"The runs. A line is {label} on the validation split over a run's steps, from {low} to {high}."


def _card(
    group: Group, name: str, record: CellRecord, ends: tuple[float, float] | None, page: str | None
) -> Card:
    metric = group.metric
    found = record.result.metrics.by_split().get(group.split, {})
    value = told(metric, found[metric.name]) if metric.name in found else ""
    note = f"{record.result.steps:,} steps" if record.result.steps else ""
    return Card(name, value, note, _line(record, ends), page or "")


def _line(record: CellRecord, ends: tuple[float, float] | None) -> list[tuple[float, float]]:
    """The validation metric over the steps, both from 0 to 1."""
    points = [(point.steps, point.validation) for point in record.curve if point.validation is not None]
    if ends is None or len(points) < 2:
        return []
    last, (low, high) = max(steps for steps, _ in points), ends
    return [(steps / last, (value - low) / ((high - low) or 1)) for steps, value in points]


def _ends(group: Group, records: Sequence[CellRecord]) -> tuple[float, float] | None:
    """The smallest and the largest validation metric of all runs; None where nothing was validated."""
    values = [
        point.validation for record in records for point in record.curve if point.validation is not None
    ]
    return (min(values), max(values)) if values else None


def _outcome(group: Group, each: Compared) -> str:
    """What an objective reached, and how it compares with the baseline."""
    values = group.values(each.name)
    places = digits(group.metric, [value / group.metric.scale for value in values.values()])
    text = f"{group.split} {axis(group.metric)}: {spread(values.values(), places)}"
    if each.name == group.baseline:
        return f"{text}, the baseline"
    if each.difference is not None:
        unit = f" {unit_of_difference(group.metric)}".rstrip()
        text += (
            f"; minus {group.baseline} {signed(each.difference.mean, each.difference.interval, places)}{unit}"
        )
    return f"{text}; verdict: {verdict(each, group)}"
