"""A study beside what papers say."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from limbeck.errors import LimbeckError
from limbeck.report.table import Table
from limbeck.studies.outcome import Group
from limbeck.studies.published import Published, published
from limbeck.studies.study import Study
from limbeck.tasks.wording import Cell


def published_tables(study: Study, groups: Sequence[Group]) -> list[Table]:
    """Paper, ours and difference for each pair that a published table of the study has.

    Args:
        study: the study, which names the tables.
        groups: what came of its pairs.
    Raises:
        LimbeckError: if the study names no table, or none of them has one of its pairs.
    """
    if not study.published:
        raise LimbeckError("the study names no published tables; list some under published, such as crd")
    tables = [
        table
        for name in study.published
        for group in groups
        if (table := _table(study, group, published(name))) is not None
    ]
    if not tables:
        raise LimbeckError(
            f"{', '.join(study.published)}: none has a finished pair of this study; tables are found by the "
            "names of data and networks"
        )
    return tables


def _table(study: Study, group: Group, theirs: Published) -> Table | None:
    """One pair beside one published table."""
    models = tuple(study.teachers[name].model for name in group.pair.teachers)
    pair = theirs.of(models, study.students[group.pair.student].model)
    if pair is None or not study.data[group.data].name.startswith(theirs.data) or group.metric.name != "top1":
        return None
    rows: list[list[Cell]] = []
    ours = group.teacher_values()
    if pair.teacher_accuracy is not None:
        rows.append(_row("teacher", pair.teacher_accuracy, next(iter(ours.values()), None)))
    for name in group.compared:
        called = study.objectives[name].published or name
        paper = pair.student_accuracy if name == study.baseline else pair.methods.get(called)
        if paper is not None:
            rows.append(_row(name, paper, fmean(group.values(name).values())))
    notes = [
        f"Paper: {theirs.source}; {theirs.protocol}.",
        theirs.note,
        "A difference to the paper is one of teachers, seeds, data splits and code together: with another "
        "teacher everything changes, so compare its row first. The spread of the paper's seeds is not known "
        "here.",
        study.note,
    ]
    title = f"{theirs.source.split(',')[0]} beside ours: {group.title}"
    columns = ["objective", "paper", f"ours, {group.split}", "difference"]
    return Table(title, columns, rows, " ".join(filter(None, notes)))


def _row(name: str, paper: float, ours: float | None) -> list[Cell]:
    if ours is None:
        return [name, f"{paper:.2f}", None, None]
    return [name, f"{paper:.2f}", f"{ours:.2f}", f"{ours - paper:+.2f}"]
