"""The student alone beside the distilled one, on the page of a run."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from limbeck.report.page import Block
from limbeck.report.table import Table
from limbeck.runs import gain
from limbeck.runs.result import Result
from limbeck.tasks import Task
from limbeck.tasks.wording import Cell, axis, digits, figure

ALONE = "student alone"


def beside(result: Result, task: Task, home: Path | None = None) -> list[Block]:
    """What both reached and the difference, or why there is none; nothing where none was asked for.

    Args:
        result: the run's `result.json`.
        task: the run's.
        home: the directory that the page lies in, for a link to the page of the student alone.
    """
    its = result.alone
    if its is None:
        return [result.baseline] if isinstance(result.baseline, str) else []
    ours, theirs = result.metrics.on(its.split), its.metrics.on(its.split)
    metrics = [metric for metric in task.metrics if metric.name in ours and metric.name in theirs]
    rows: list[list[Cell]] = [
        [name, objective, steps, *(figure(metric, values[metric.name]) for metric in metrics)]
        for name, objective, steps, values in (
            (ALONE, its.objective, its.steps, theirs),
            ("student distilled", result.objective, result.steps, ours),
        )
    ]
    pairs = [(metric, ours[metric.name], theirs[metric.name]) for metric in metrics]
    less = [f"{each.scale * (one - other):+.{digits(each, (one, other))}f}" for each, one, other in pairs]
    rows.append(["difference", None, None, *less])
    page = f"{its.place}/report.html"
    links = {ALONE: quote(page)} if home and (home / page).is_file() else {}
    columns = ["network", "objective", "steps", *(f"{its.split} {axis(metric)}" for metric in metrics)]
    notes = [
        "Both began with the same weights and had the same data, batches and schedule. The difference is "
        f"{gain.told(its, task.primary)}."
    ]
    if its.interval is not None:
        notes.append(
            f"The table is of seed {result.seed}; the interval covers other seeds, not other samples."
        )
    if lower := [metric.label for metric in metrics if not metric.higher]:
        notes.append(f"Lower is better: {', '.join(lower)}.")
    return [Table("The student alone and distilled", columns, rows, " ".join(notes), links)]
