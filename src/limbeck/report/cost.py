"""The part of a run's page on what its networks cost to run."""

from __future__ import annotations

from limbeck.evaluation.results import Cost, Evaluation
from limbeck.report.page import Block
from limbeck.report.pareto import Offer, metric_by_cost
from limbeck.report.table import Table
from limbeck.tasks.wording import Cell, point

WILSON = "Bars are 95 % Wilson intervals: they cover other samples, not other seeds."


def cost(found: Evaluation) -> list[Block]:
    """Costs by network with the student's share of its teacher's, and the primary metric against cost."""
    figures = {role: _figures(network.cost) for role, network in found.networks.items()}
    student, teacher = figures["student"], figures.get("teacher")
    rows: list[list[Cell]] = []
    for name, ours in student.items():
        share = [f"{ours / teacher[name]:.3g}" if teacher.get(name) else None] if teacher else []
        rows.append([name, *(its.get(name) for its in figures.values()), *share])
    columns = ["cost", *figures, *(["student / teacher"] if teacher else [])]
    what = "a latency without a percentile is the median of 50 calls"
    notes = f"Times are wall-clock, on {found.timed_on}; {what}." if found.student.cost.latency else ""
    body: list[Block] = [Table("What a network costs to run", columns, rows, notes)]
    if len(figures) > 1:
        metric = found.found_task.primary
        offers = [
            Offer(
                role,
                max(network.cost.multiply_adds, 1),
                *point(metric, network.metrics[metric.name], network.intervals.get(metric.name)),
            )
            for role, network in found.networks.items()
        ]
        bars = WILSON if any(offer.low is not None for offer in offers) else ""
        body.append(metric_by_cost(offers, metric, "multiply-adds a sample", bars))
    return body


def _figures(cost: Cost) -> dict[str, float]:
    """What was measured, by the name it is shown under."""
    figures: dict[str, float] = {
        "parameters": cost.parameters,
        "multiply-adds a sample": cost.multiply_adds,
        "weights on disk (MB)": cost.bytes / 1e6,
    }
    if cost.peak_bytes is not None:
        figures["peak memory, batch 32 (MB)"] = cost.peak_bytes / 1e6
    for batch, timing in (cost.latency or {}).items():
        figures[f"latency, batch {batch} (ms)"] = timing.median_ms
        figures[f"latency, batch {batch}, 95th percentile (ms)"] = timing.p95_ms
    if cost.throughput is not None:
        figures["throughput (samples/s)"] = cost.throughput
    return figures
