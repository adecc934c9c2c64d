"""The report of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from limbeck import tasks
from limbeck.config import flat
from limbeck.durations import duration
from limbeck.evaluation.results import Evaluation
from limbeck.report import measured
from limbeck.report.answers import answers
from limbeck.report.beside import beside
from limbeck.report.chain import chain
from limbeck.report.chart import Chart, Trace
from limbeck.report.headline import lead, tiles, title
from limbeck.report.page import Block, Folded, Gallery, Section, page
from limbeck.report.table import Table
from limbeck.report.transferred import transferred
from limbeck.tasks import Task
from limbeck.tasks.wording import Cell, axis, figure, interval, percent

if TYPE_CHECKING:
    from limbeck.runs.result import Result

History: TypeAlias = Sequence[Mapping[str, Any]]
"""The lines of a run's `metrics.jsonl`, oldest first."""

KEPT = {"last": "last epoch", "validation": "best epoch on the validation split"}


def run_report(
    result: Result,
    history: History,
    skipped: int = 0,
    *,
    evaluation: Evaluation | None = None,
    examples: Gallery | None = None,
    transfers: Sequence[Mapping[str, Any]] = (),
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
    home: Path | None = None,
) -> str:
    """The page of one run.

    Args:
        result: its `result.json`.
        history: its `metrics.jsonl`.
        skipped: lines of that file that could not be read (see `read_history`).
        evaluation: its `evaluation.json`.
        examples: inputs that the student gets wrong (see `limbeck.report.inputs`).
        transfers: its `transfer/*.json`.
        settings: its config.
        environment: its `environment.json`.
        home: its directory, for links to the pages of the runs that its teachers came from, and to that of
            the student alone.
    """
    task = tasks.from_record(result.task)
    splits = [_splits(result, task, evaluation)] if result.metrics.by_split() else []
    made = chain(result, task.primary, environment, home)
    trained = "Student and teacher" if result.teacher else "Student"
    compared = beside(result, task, home)
    sections = [
        Section(
            trained, [_networks(result, task, evaluation), *compared, *answers(result, task), *splits, *made]
        )
    ]
    if examples:
        sections.append(Section("What the teacher knows and the student does not", [examples]))
    if evaluation:
        sections += measured.sections(evaluation)
    sections += transferred(transfers)
    curves: list[Block] = [*_validation(history, task), *_terms(history)]
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
        **_grown(result),
        **data_facts(result),
        "Seed": str(result.seed),
        **({} if result.steps is None else {"Steps": f"{result.steps:,}"}),
        "Time": duration(result.seconds),
        **({"Measured": f"{evaluation.suite} suite on {evaluation.device}"} if evaluation else {}),
    }
    return page(title(result), lead(result, task), sections, facts, tiles(evaluation, result.alone))


def _grown(result: Result) -> dict[str, str]:
    """Which teachers were checkpoints of a training, one after the other."""
    grown = {name: each.checkpoints for name, each in result.teachers.items() if each.checkpoints}
    told = [f"{name}: {count} checkpoints, later ones later on" for name, count in grown.items()]
    return {"Taught by": "; ".join(told)} if told else {}


def data_facts(result: Result) -> dict[str, str]:
    """What the run learned from and which epoch it kept, for the head of a page."""
    data = result.data
    sizes = {"train": data.train, "validation": data.validation, "test": data.test}
    samples = [f"{size:,} {split}" for split, size in sizes.items() if size]
    if data.labeled < data.train:
        samples[0] += f" ({data.labeled:,} labeled)"
    views = data.views
    several = views is not None and views.count > 1
    drawn = {"Views": f"{views.drawn:,} of {views.count:,} of {views.policy}"} if views and several else {}
    return {
        "Data": f"{data.name}, {tasks.from_record(result.task).summary}",
        "Samples": ", ".join(samples),
        **drawn,
        "Network kept": KEPT[result.selection],
    }


def _networks(result: Result, task: Task, found: Evaluation | None) -> Table:
    """Teacher and student with their sizes and, where one was measured, the metrics on the test split."""
    networks = [(name, teacher) for name, teacher in result.teachers.items()]
    measures = {name: teacher.metrics or {} for name, teacher in networks}
    measures["student"] = result.metrics.test or {}
    if found and found.split == "test":
        measures |= {str(role): network.metrics for role, network in found.networks.items()}
    names = [metric for metric in task.metrics if any(metric.name in its for its in measures.values())]
    sizes = {name: (teacher.model, teacher.parameters) for name, teacher in networks}
    sizes["student"] = (result.student.model, result.student.parameters)
    if found and (baseline := found.networks.get("baseline")):
        sizes["baseline"] = (baseline.name, baseline.cost.parameters)
    reference = next(size for _, size in sizes.values() if size is not None)
    alone = "student alone" if result.alone else "baseline"
    rows: list[list[Cell]] = [
        [
            alone if name == "baseline" else name,
            *(figure(metric, measures.get(name, {}).get(metric.name)) for metric in names),
            parameters,
            None if parameters is None else percent(parameters / max(reference, 1)),
            model,
        ]
        for name, (model, parameters) in sizes.items()
    ]
    columns = ["network", *(f"test {axis(metric)}" for metric in names), "parameters", "size (%)", "model"]
    return Table("What was trained", columns, rows, "Size: parameters relative to the first network.")


def _splits(result: Result, task: Task, evaluation: Evaluation | None) -> Table:
    """All metrics of the student on each split."""
    splits = result.metrics.by_split()
    sizes = {"test": result.data.test, "validation": result.data.validation, **result.data.measured}
    names = [metric for metric in task.metrics if any(metric.name in found for found in splits.values())]
    rows: list[list[Cell]] = [
        [split, sizes[split], *(figure(metric, found.get(metric.name)) for metric in names)]
        for split, found in splits.items()
    ]
    columns = ["split", "labels", *map(axis, names)]
    notes = []
    rate = evaluation.student.intervals.get(task.primary.name) if evaluation else None
    if rate and evaluation and evaluation.split in splits:
        columns.append("95 % interval")
        for row in rows:
            row.append(interval(task.primary, rate) if row[0] == evaluation.split else None)
        notes.append(f"The interval is Wilson's for {task.primary.label}: it covers other samples.")
    if worse := [metric.label for metric in names if not metric.higher]:
        notes.append(f"Lower is better: {', '.join(worse)}.")
    if result.selection == "validation":
        notes.append("The validation split chose the epoch, which flatters its own figures.")
    return Table("The student on each split", columns, rows, " ".join(notes))


def _validation(history: History, task: Task) -> list[Chart]:
    """A chart of each metric that was taken on the validation split, the primary one first."""
    charts = []
    for metric in task.metrics:
        lines = [line for line in history if metric.name in (line.get("validation") or {})]
        if lines:
            values = [metric.scale * line["validation"][metric.name] for line in lines]
            student = Trace("student", [line["epoch"] for line in lines], values)
            charts.append(Chart(f"Validation: {metric.label}", [student], "epoch", axis(metric)))
    return charts


def _terms(history: History) -> list[Chart]:
    """A chart of the losses for each phase of training, in the order the phases ran."""
    charts = []
    for phase in dict.fromkeys(line["phase"] for line in history):
        lines = [line for line in history if line["phase"] == phase]
        traces = []
        for name in dict.fromkeys(name for line in lines for name in line["terms"]):
            having = [line for line in lines if name in line["terms"]]
            epochs = [line["epoch"] for line in having]
            traces.append(Trace(name, epochs, [line["terms"][name] for line in having]))
        title = "Terms of the objective" if phase == "training" else f"Terms of the phase {phase}"
        charts.append(Chart(title, traces, "epoch", "mean of the epoch"))
    return charts


def _listed(caption: str, values: Mapping[str, Any]) -> Folded:
    rows = [[name, None if value is None else str(value)] for name, value in flat(values).items()]
    return Folded(Table(caption, ["name", "value"], rows))
