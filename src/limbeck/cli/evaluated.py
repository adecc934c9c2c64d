"""What `limbeck evaluate` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from limbeck.evaluation.results import Evaluation
from limbeck.runs import Run

PAIRS = 5
"""Most confused pairs that are printed; the file has more."""


def evaluated(found: Evaluation, run: Run) -> RenderableType:
    """The tables of an evaluation, what was left out of it, and where it lies."""
    lines = [f"{role}: {network.name}" for role, network in found.networks.items()]
    parts: list[RenderableType] = [*map(Text, lines), _networks(found)]
    parts += [_stages(found)] if found.fidelity and found.fidelity.cka.stages else []
    parts += [_robustness(found)] if found.student.robustness else []
    parts += [_pairs(found)] if found.student.confusion.pairs else []
    notes = list(found.notes)
    if found.student.cost.latency:
        notes.append(f"Times are wall-clock, on {found.timed_on}.")
    if run.finished and run.result.data.fingerprint == found.data.fingerprint:
        notes += [f"{run.path / name}" for name in ("evaluation.json", "report.html")]
    return Group(*parts, *map(Text, notes))


def _networks(found: Evaluation) -> Table:
    networks = list(found.networks.values())
    title = f"{found.data.name}, {found.split} split, {found.samples:,} samples"
    table = Table(title=title, title_style="bold", title_justify="left")
    table.add_column("")
    for role in found.networks:
        table.add_column(role, justify="right")
    if compared := "teacher" in found.networks:
        table.add_column("ratio", justify="right")

    def row(label: str, values: Sequence[float | None], form: str, *, ratio: bool = False) -> None:
        """A row of the table, unless nothing is known; the ratio is student over teacher."""
        if all(value is None for value in values):
            return
        cells = ["-" if value is None else format(value, form) for value in values]
        if compared and ratio and values[0] is not None and values[1]:
            cells.append(f"{values[0] / values[1]:.3f}")
        table.add_row(label, *cells)

    def percent(label: str, values: Sequence[float | None]) -> None:
        row(label, [None if value is None else 100 * value for value in values], ".2f")

    percent("top-1 (%)", [network.accuracy.top1.value for network in networks])
    intervals = [network.accuracy.top1 for network in networks]
    table.add_row(
        "  95 % interval", *(f"{100 * rate.low:.1f} to {100 * rate.high:.1f}" for rate in intervals)
    )
    percent("top-5 (%)", [network.metrics.get("top5") for network in networks])
    row("NLL (nats)", [network.nll for network in networks], ".4f")
    percent("calibration error (%)", [network.calibration.ece for network in networks])
    row("fitted temperature", [network.calibration.temperature for network in networks], ".3f")
    row("  NLL then (nats)", [network.calibration.nll_after for network in networks], ".4f")
    percent("  calibration error (%)", [network.calibration.ece_after for network in networks])
    if (fidelity := found.fidelity) is not None:
        table.add_section()
        percent("agreement with teacher (%)", [fidelity.agreement])
        row("KL from teacher (nats)", [fidelity.kl], ".4f")
        row("CKA of the embeddings", [fidelity.cka.embedding], ".3f")
        row("class correlations differ", [fidelity.correlation.difference], ".4f")
    table.add_section()
    costs = [network.cost for network in networks]
    row("parameters", [cost.parameters for cost in costs], ",", ratio=True)
    row("multiply-adds a sample", [cost.multiply_adds for cost in costs], ",", ratio=True)
    row("weights (KB)", [cost.bytes / 1e3 for cost in costs], ",.1f", ratio=True)
    peaks = [None if cost.peak_bytes is None else cost.peak_bytes / 1e3 for cost in costs]
    row("peak memory, batch 32 (KB)", peaks, ",.1f", ratio=True)
    for size in found.student.cost.latency or {}:
        times = [cost.latency[size] for cost in costs if cost.latency]
        row(f"latency, batch {size} (ms)", [time.median_ms for time in times], ".3f", ratio=True)
        row("  95th percentile (ms)", [time.p95_ms for time in times], ".3f", ratio=True)
    row("throughput (samples/s)", [cost.throughput for cost in costs], ",.0f", ratio=True)
    return table


def _stages(found: Evaluation) -> Table:
    assert found.fidelity is not None
    assert found.fidelity.cka.stages is not None
    stages = found.fidelity.cka.stages
    columns = [f"teacher {number}" for number in range(1, len(stages[0]) + 1)]
    table = Table("CKA of stages", *columns)
    for number, row in enumerate(stages, 1):
        table.add_row(f"student {number}", *(f"{value:.3f}" for value in row))
    return table


def _robustness(found: Evaluation) -> Table:
    table = Table("top-1 (%) with noise", "severity")
    for column in ("1", "2", "3", "4", "5", "mean"):
        table.add_column(column, justify="right")
    for kind in found.student.robustness or {}:
        label = kind.replace("_", " ")
        for role, network in found.networks.items():
            curve = (network.robustness or {})[kind]
            table.add_row(label, role, *(f"{100 * value:.1f}" for value in (*curve, sum(curve) / len(curve))))
            label = ""
        table.add_section()
    return table


def _pairs(found: Evaluation) -> Table:
    table = Table("most confused by the student", "taken for", "samples")
    for pair in found.student.confusion.pairs[:PAIRS]:
        names = found.class_names
        table.add_row(names[pair.target], names[pair.predicted], str(pair.samples))
    return table
