"""The report of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from limbeck.config import flat
from limbeck.evaluation import wilson
from limbeck.evaluation.results import Evaluation
from limbeck.report import measured
from limbeck.report.chart import Chart, Trace
from limbeck.report.headline import lead, tiles
from limbeck.report.page import Block, Folded, Gallery, Section, page
from limbeck.report.table import Cell, Table, duration, percent
from limbeck.report.transferred import transferred

if TYPE_CHECKING:
    from limbeck.runs.result import Result

History: TypeAlias = Sequence[Mapping[str, Any]]
"""The lines of a run's `metrics.jsonl`, oldest first."""


class Metric(NamedTuple):
    """How a page names a metric, the factor to the unit it shows, and the digits after the point."""

    label: str
    scale: float
    digits: int


METRICS = {
    "top1": Metric("top-1 accuracy (%)", 100, 2),
    "top5": Metric("top-5 accuracy (%)", 100, 2),
    "nll": Metric("negative log-likelihood (nats)", 1, 3),
    "ece": Metric("calibration error (%)", 100, 2),
}

KEPT = {"last": "last epoch", "validation": "best epoch on the validation split"}


def run_report(
    result: Result,
    history: History,
    skipped: int = 0,
    *,
    evaluation: Evaluation | None = None,
    mistakes: Gallery | None = None,
    transfers: Sequence[Mapping[str, Any]] = (),
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> str:
    """The page of one run.

    Args:
        result: its `result.json`.
        history: its `metrics.jsonl`.
        skipped: lines of that file that could not be read (see `read_history`).
        evaluation: its `evaluation.json`.
        mistakes: inputs that the student gets wrong (see `limbeck.report.inputs`).
        transfers: its `transfer/*.json`.
        settings: its config.
        environment: its `environment.json`.
    """
    measures = [_metrics(result)] if result.metrics.by_split() else []
    tables = [_networks(result), *measures]
    sections = [Section("Student and teacher" if result.teachers else "Student", tables)]
    if mistakes:
        sections.append(Section("What the teacher knows and the student does not", [mistakes]))
    if evaluation:
        sections += measured.sections(evaluation)
    sections += transferred(transfers)
    curves: list[Block] = [*_validation(history), *_terms(history)]
    if skipped:
        lines = "1 line" if skipped == 1 else f"{skipped} lines"
        curves.append(f"{lines} of the history could not be read; a crash leaves half a line.")
    if curves:
        sections.append(Section("Learning curves", curves))
    named = {"Settings": settings, "Chosen when it ran": result.choices, "Environment": environment}
    if listed := [_listed(caption, values) for caption, values in named.items() if values]:
        sections.append(Section("How to repeat it", listed))
    facts = {
        "Objective": result.objective,
        **data_facts(result),
        "Seed": str(result.seed),
        "Time": duration(result.seconds),
        **({"Measured": f"{evaluation.suite} suite on {evaluation.device}"} if evaluation else {}),
    }
    title = f"{result.student.model} on {result.data.name}"
    return page(title, lead(result, evaluation), sections, facts, tiles(result, evaluation))


def data_facts(result: Result) -> dict[str, str]:
    """What the run learned from and which epoch it kept, for the head of a page."""
    data, views = result.data, result.data.views
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    sizes = [f"{size:,} {split}" for split, size in splits.items() if size]
    if data.labeled < data.train:
        sizes[0] += f" ({data.labeled:,} labeled)"
    drawn = {"Views": f"{views.drawn:,} of {views.count:,} of {views.policy}"} if views else {}
    return {
        "Data": f"{data.name}, {data.outputs} classes",
        "Samples": ", ".join(sizes),
        **drawn,
        "Network kept": KEPT[result.selection],
    }


def _networks(result: Result) -> Table:
    networks = [(name, each, each.metrics) for name, each in result.teachers.items()]
    networks = [*networks, ("student", result.student, result.metrics.test)]
    reference = networks[0][1].parameters
    rows: list[list[Cell]] = []
    for name, network, found in networks:
        accuracy = percent(found["top1"]) if found else None
        size = percent(network.parameters / reference)
        rows.append([name, network.model, network.parameters, size, accuracy])
    columns = ["network", "model", "parameters", "size (%)", "test accuracy (%)"]
    return Table("What was trained", columns, rows, "Size: parameters relative to the first row.")


def _metrics(result: Result) -> Table:
    splits = result.metrics.by_split()
    names = [name for name in METRICS if any(name in found for found in splits.values())]
    rows: list[list[Cell]] = []
    for split, found in splits.items():
        size = result.data.measured[split]
        low, high = wilson(round(found["top1"] * size), size)
        measures = [(METRICS[name], found.get(name)) for name in names]
        values = [None if at is None else f"{its.scale * at:.{its.digits}f}" for its, at in measures]
        rows.append([split, size, *values, f"{percent(low)} to {percent(high)}"])
    notes = (
        "The interval is Wilson's for the top-1 accuracy, over the labeled samples of the split. The "
        "calibration error is the distance of confidence from accuracy over 15 bins of equal mass."
    )
    if result.selection == "validation":
        notes += " The validation split chose the epoch, which flatters its own figures."
    columns = ["split", "samples", *(METRICS[name].label for name in names), "95 % interval (%)"]
    return Table("The student on each split", columns, rows, notes)


def _validation(history: History) -> list[Chart]:
    """A chart of each metric that was taken on the validation split."""
    lines = [line for line in history if line.get("validation")]
    epochs = [line["epoch"] for line in lines]
    charts = []
    for name, metric in METRICS.items():
        if all(name in line["validation"] for line in lines) and lines:
            values = [metric.scale * line["validation"][name] for line in lines]
            title = f"Validation: {metric.label.split(' (')[0]}"
            charts.append(Chart(title, [Trace("student", epochs, values)], "epoch", metric.label))
    return charts


def _terms(history: History) -> list[Chart]:
    """A chart of the losses for each stage of training, in the order the stages ran."""
    charts = []
    for stage in dict.fromkeys(line["stage"] for line in history):
        lines = [line for line in history if line["stage"] == stage]
        traces = []
        for name in dict.fromkeys(name for line in lines for name in line["terms"]):
            having = [line for line in lines if name in line["terms"]]
            epochs = [line["epoch"] for line in having]
            traces.append(Trace(name, epochs, [line["terms"][name] for line in having]))
        title = "Terms of the objective" if stage == "training" else f"Terms of the phase {stage}"
        charts.append(Chart(title, traces, "epoch", "mean of the epoch"))
    return charts


def _listed(caption: str, values: Mapping[str, Any]) -> Folded:
    rows = [[name, None if value is None else str(value)] for name, value in flat(values).items()]
    return Folded(Table(caption, ["name", "value"], rows))
