"""The report of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeAlias

from limbeck.evaluation import wilson
from limbeck.report.chart import Chart, Trace
from limbeck.report.page import Block, Section, page
from limbeck.report.table import Cell, Table

Result: TypeAlias = Mapping[str, Any]
"""What a run's `result.json` holds."""

History: TypeAlias = Sequence[Mapping[str, Any]]
"""The lines of a run's `metrics.jsonl`, oldest first."""


class Metric(NamedTuple):
    """How a page names a metric, and the factor to the unit it shows."""

    label: str
    scale: float


METRICS = {
    "top1": Metric("top-1 accuracy (%)", 100),
    "top5": Metric("top-5 accuracy (%)", 100),
    "nll": Metric("negative log-likelihood (nats)", 1),
    "ece": Metric("calibration error (%)", 100),
}

KEPT = {"last": "last epoch", "validation": "best epoch on the validation split"}


def run_report(result: Result, history: History, skipped: int = 0) -> str:
    """The page of one run.

    Args:
        result: its `result.json`.
        history: its `metrics.jsonl`.
        skipped: lines of that file that could not be read (see `read_history`).
    """
    sections = [Section("Student and teacher" if result["teacher"] else "Student", [_networks(result)])]
    if any(result["metrics"].values()):
        sections.append(Section("Accuracy and calibration", [_metrics(result)]))
    curves: list[Block] = [*_validation(history), *_terms(history)]
    if skipped:
        lines = "1 line" if skipped == 1 else f"{skipped} lines"
        curves.append(f"{lines} of the history could not be read; a crash leaves half a line.")
    if curves:
        sections.append(Section("Learning curves", curves))
    facts = {
        "Objective": result["objective"],
        **data_facts(result),
        "Seed": str(result["seed"]),
        "Time": duration(result["seconds"]),
    }
    return page(f"{result['student']['model']} on {result['data']['name']}", _lead(result), sections, facts)


def data_facts(result: Result) -> dict[str, str]:
    """What the run learned from and which epoch it kept, for the head of a page."""
    data = result["data"]
    sizes = [f"{data[split]:,} {split}" for split in ("train", "validation", "test") if data[split]]
    if data["labelled"] < data["train"]:
        sizes[0] += f" ({data['labelled']:,} labelled)"
    return {
        "Data": f"{data['name']}, {data['classes']} classes",
        "Samples": ", ".join(sizes),
        "Network kept": KEPT[result["selection"]],
    }


def percent(fraction: float) -> str:
    """A fraction as a table shows it where the heading has the unit: 0.85234 is `85.2`."""
    return f"{100 * fraction:.1f}"


def duration(seconds: float) -> str:
    """`12.3 s`, or hours, minutes and seconds from two minutes on."""
    return f"{seconds:.1f} s" if seconds < 120 else str(timedelta(seconds=round(seconds)))


def _lead(result: Result) -> str:
    student, teacher = result["student"], result["teacher"]
    size = f"{student['parameters']:,} parameters"
    if student["top1"] is None:
        return f"The student has {size}. How accurate it is, is not known: the data has no test split."
    text = f"The student is right on {percent(student['top1'])} % of the test samples with {size}"
    if teacher:
        text += f"; its teacher is right on {percent(teacher['top1'])} % and has {teacher['parameters']:,}"
    if result["agreement"] is not None:
        text += f". They give the same answer for {percent(result['agreement'])} % of the samples"
    return text.replace(" %", "\N{NO-BREAK SPACE}%") + "."


def _networks(result: Result) -> Table:
    networks = [(name, result[name]) for name in ("teacher", "student") if result[name]]
    reference = networks[0][1]["parameters"]
    rows: list[list[Cell]] = []
    for name, network in networks:
        size = percent(network["parameters"] / reference)
        accuracy = None if network["top1"] is None else percent(network["top1"])
        rows.append([name, network["model"], network["parameters"], size, accuracy])
    columns = ["network", "model", "parameters", "size (%)", "test accuracy (%)"]
    return Table("What was trained", columns, rows, "Size: parameters relative to the first row.")


def _metrics(result: Result) -> Table:
    splits: dict[str, Mapping[str, float]] = {
        split: found for split, found in result["metrics"].items() if found
    }
    names = [name for name in METRICS if any(name in found for found in splits.values())]
    rows: list[list[Cell]] = []
    for split, found in splits.items():
        size = result["data"][split]
        low, high = wilson(round(found["top1"] * size), size)
        values = [f"{METRICS[name].scale * found[name]:.2f}" if name in found else None for name in names]
        rows.append([split, size, *values, f"{percent(low)} to {percent(high)}"])
    notes = (
        "The interval is Wilson's for the top-1 accuracy, over the samples of the split. The calibration "
        "error is the distance of confidence from accuracy over 15 bins of equal mass."
    )
    if result["selection"] == "validation":
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
