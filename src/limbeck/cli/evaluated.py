"""What `limbeck evaluate` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from limbeck.evaluation.results import Evaluation, NetworkResult
from limbeck.report import supervision, task_scores
from limbeck.report.formats import rich_table
from limbeck.report.sections import table as table_of
from limbeck.report.table import Table as Shown
from limbeck.runs import Run
from limbeck.tasks import Metric
from limbeck.tasks import sections as plain
from limbeck.tasks.wording import axis, figure, interval

ROWS = 5
"""Rows of a task's table that are printed; the page has them all."""


def evaluated(found: Evaluation, run: Run) -> RenderableType:
    """The tables of an evaluation, what was left out of it, and where it lies."""
    lines = [
        f"{role}: {network.name}{f', the run {network.run}' if network.run else ''}"
        for role, network in found.networks.items()
    ]
    parts: list[RenderableType] = [*map(Text, lines), _networks(found)]
    parts += [_stages(found.cka.stages)] if found.cka and found.cka.stages else []
    primary = found.found_task.primary
    parts += [_robustness(found, primary, found.student.robustness)] if found.student.robustness else []
    parts += map(rich_table, _of_the_task(found))
    if found.supervision is not None:
        parts.append(rich_table(supervision.table(found.supervision)))
    if found.scores:
        parts.append(rich_table(task_scores.table(found)))
    notes = list(found.notes)
    if found.agreement is not None:
        notes.append(f"Distance to the teacher: {found.found_task.distance}.")
    if found.student.cost.latency:
        notes.append(f"Times are wall-clock, on {found.timed_on}.")
    if run.finished and run.result.data.fingerprint == found.data.fingerprint:
        notes += [f"{run.path / name}" for name in ("evaluation.json", "report.html")]
    return Group(*parts, *map(Text, notes))


def _networks(found: Evaluation) -> Table:
    """The metrics, the agreement with the teacher and the costs of all networks, a column for each."""
    networks, task = list(found.networks.values()), found.found_task
    title = f"{found.data.name}, {found.split} split, {found.samples:,} samples"
    table = Table(title=title, title_style="bold", title_justify="left")
    table.add_column("")
    for role in found.networks:
        table.add_column(role, justify="right")
    if "teacher" in found.networks:
        table.add_column("ratio", justify="right")
    for metric in task.metrics:
        _add_metric(table, metric, networks)
    if (its := found.agreement) is not None:
        table.add_section()
        if its.agreement is not None:
            table.add_row("agreement (%)", f"{100 * its.agreement:.2f}")
        table.add_row("distance to teacher", f"{its.distance:.4f}")
        if found.cka and found.cka.embedding is not None:
            table.add_row("CKA of the embeddings", f"{found.cka.embedding:.3f}")
    table.add_section()
    _add_costs(table, found)
    return table


def _add_metric(table: Table, metric: Metric, networks: Sequence[NetworkResult]) -> None:
    """The metric of each network, and below it the intervals that there are."""
    values = [figure(metric, network.metrics.get(metric.name)) for network in networks]
    if not any(values):
        return
    table.add_row(axis(metric), *(value or "-" for value in values))
    rates = [network.intervals.get(metric.name) for network in networks]
    if any(rates):
        table.add_row("  95 % interval", *(interval(metric, rate) if rate else "-" for rate in rates))


def _add_costs(table: Table, found: Evaluation) -> None:
    """What each network costs, and the student's share of its teacher's."""
    costs, compared = [network.cost for network in found.networks.values()], "teacher" in found.networks

    def row(label: str, values: Sequence[float | None], form: str) -> None:
        if all(value is None for value in values):
            return
        cells = ["-" if value is None else format(value, form) for value in values]
        if compared and values[0] is not None and values[1]:
            cells.append(f"{values[0] / values[1]:.3f}")
        table.add_row(label, *cells)

    row("parameters", [cost.parameters for cost in costs], ",")
    row("multiply-adds a sample", [cost.multiply_adds for cost in costs], ",")
    row("weights (KB)", [cost.bytes / 1e3 for cost in costs], ",.1f")
    peaks = [None if cost.peak_bytes is None else cost.peak_bytes / 1e3 for cost in costs]
    row("peak memory, batch 32 (KB)", peaks, ",.1f")
    for size in found.student.cost.latency or {}:
        times = [cost.latency[size] for cost in costs if cost.latency]
        row(f"latency, batch {size} (ms)", [time.median_ms for time in times], ".3f")
        row("  95th percentile (ms)", [time.p95_ms for time in times], ".3f")
    row("throughput (samples/s)", [cost.throughput for cost in costs], ",.0f")


def _stages(stages: Sequence[Sequence[float]]) -> Table:
    columns = [f"teacher {number}" for number in range(1, len(stages[0]) + 1)]
    table = Table("CKA of stages", *columns)
    for number, row in enumerate(stages, 1):
        table.add_row(f"student {number}", *(f"{value:.3f}" for value in row))
    return table


def _robustness(found: Evaluation, metric: Metric, kinds: Mapping[str, Sequence[float]]) -> Table:
    table = Table(f"{axis(metric)} with noise", "severity")
    for column in ("1", "2", "3", "4", "5", "mean"):
        table.add_column(column, justify="right")
    for kind in kinds:
        label = kind.replace("_", " ")
        for role, network in found.networks.items():
            curve = (network.robustness or {})[kind]
            values = (*curve, sum(curve) / len(curve))
            table.add_row(label, role, *(figure(metric, value, percent=1) or "-" for value in values))
            label = ""
        table.add_section()
    return table


def _of_the_task(found: Evaluation) -> list[Shown]:
    """The tables among the sections of the task; of a long one its first rows."""
    findings = {str(role): network.findings for role, network in found.networks.items()}
    tables = []
    for section in found.found_task.sections(findings, found.agreement):
        for each in section.figures:
            if isinstance(each, plain.Table):
                whole = table_of(each, section.title)
                tables.append(Shown(whole.caption, whole.columns, whole.rows[:ROWS]))
    return tables
