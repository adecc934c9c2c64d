"""What the commands print of runs and networks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from limbeck import data, features, models, tasks
from limbeck.cli.sparkline import curves
from limbeck.cli.values import sizes
from limbeck.config import NetworkConfig
from limbeck.errors import LimbeckError
from limbeck.report.formats import rich_table
from limbeck.report.table import Table as Shown
from limbeck.runs import Run, gain, language, load, networks
from limbeck.runs.exports.quantization import Quantization
from limbeck.runs.result import Result
from limbeck.tasks import Language, Metric
from limbeck.tasks.wording import digits
from limbeck.training.history import read_history


def outcome(run: Run) -> RenderableType:
    """The metrics of a run, and its files."""
    result = run.result
    student = "student" if result.teachers else "network"
    columns: list[tuple[str, int | None, Mapping[str, float] | None]] = [
        (f"{student} {result.student.model}", result.student.parameters, result.metrics.test)
    ]
    if its := result.alone:
        columns.append(("student alone", its.parameters, its.metrics.test))
    columns += [(f"{name} {it.model}", it.parameters, it.metrics) for name, it in result.teachers.items()]
    table = Table(title=result.objective, title_style="bold", title_justify="left")
    table.add_column("")
    for name, *_ in columns:
        table.add_column(name, justify="right")
    table.add_row("parameters", *("-" if size is None else f"{size:,}" for _, size, _ in columns))
    task = tasks.from_record(result.task)
    for metric in task.metrics:
        values = [(found or {}).get(metric.name) for *_, found in columns]
        if metric == task.primary or any(value is not None for value in values):
            shown = [
                "-" if value is None else metric.show(value, digits(metric, [value])) for value in values
            ]
            table.add_row(f"{metric.label} on test", *shown)
    if result.agreement is not None:
        table.add_row("agreement", f"{100 * result.agreement:.2f} %")
    drawable = (sys.stdout.encoding or "").lower().startswith("utf")
    lines = [*curves(read_history(run.path / "metrics.jsonl")[0], task.primary)] if drawable else []
    lines += _gain(run, result, task.primary)
    lines += [
        f"{name}: {each.answers.told(task.primary)}" for name, each in result.teachers.items() if each.answers
    ]
    lines.append(f"trained in {result.seconds:.1f} s; selection: {result.selection} epoch")
    lines += [f"{run.path / name}" for name in ("student.safetensors", "report.html")]
    return Group(table, *map(Text, lines))


def _gain(run: Run, result: Result, metric: Metric) -> Iterator[str]:
    """What distillation gained over the student alone, and where that is."""
    if isinstance(result.baseline, str):
        yield result.baseline.rstrip(".")
    if its := result.alone:
        yield f"against the student alone: {gain.told(its, metric)}"
        place = os.path.normpath(run.path / its.place)
        took = f"in {its.steps:,} steps as well" if its.steps == result.steps else its.in_steps(result.steps)
        yield f"the student alone: {place}, by {its.objective} {took}"


def imported(run: Run) -> RenderableType:
    """The network that was imported, and its file."""
    network = load(run)
    normalization = models.normalization_of(network)
    assert normalization is not None
    lines = [
        f"{type(network).__name__}, {models.count_parameters(network):,} parameters",
        f"takes pixels in [0, 1] and normalizes them: {normalization.summary}",
        f"{run.path / 'student.safetensors'}",
    ]
    return Group(*map(Text, lines))


def quantized(found: Quantization) -> RenderableType:
    """A quantized file beside the one in float32."""
    return rich_table(Shown("", ["", "float32", found.precision], list(found.rows), found.notes))


def inspection(
    model: str, source_name: str | None, data_dir: Path | None, shape: str | None, classes: int | None
) -> RenderableType:
    """The features found in a network, with their shapes."""
    facts: Mapping[str, int] = {}
    config, network = NetworkConfig(model=model), None
    if shape is None:
        if classes is not None:
            raise LimbeckError("--classes goes with --input; a data set has classes of its own")
        source = data.load(source_name or "digits", data_dir, lambda: language.tokens_of(config))
        example, classes, facts = source.example(), source.task.width, source.facts
        if isinstance(source.task, Language) and models.huggingface.is_hf(model):
            network = models.causal.build(model, facts)
    elif source_name is not None or data_dir is not None:
        raise LimbeckError("--input stands in for a data set; leave out --data and --data-dir")
    else:
        example = torch.rand(2, *sizes(shape), generator=torch.Generator().manual_seed(0))
    if network is None:
        network = networks.build(config, "model", example, classes, facts)
    title = f"{type(network).__name__}, {models.count_parameters(network):,} parameters"
    table = Table("field", "module", "shape", title=title, title_justify="left")
    for field, point, size in features.describe(network, example):
        table.add_row(field, str(point), str(size))
    return table
