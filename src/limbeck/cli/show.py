"""What the commands print."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from limbeck import data, features, methods, models, tasks
from limbeck.cli.values import sizes
from limbeck.config import NetworkConfig
from limbeck.errors import LimbeckError, unknown
from limbeck.methods import Method
from limbeck.notation import parse_call, show
from limbeck.runs import Run, load, networks
from limbeck.tasks.wording import digits


def outcome(run: Run) -> RenderableType:
    """What a run reached, and where it lies."""
    result = run.result
    table = Table(title=result.objective, title_style="bold", title_justify="left")
    table.add_column("")
    table.add_column(f"{'student' if result.teachers else 'network'} {result.student.model}", justify="right")
    for name, teacher in result.teachers.items():
        table.add_column(f"{name} {teacher.model}", justify="right")
    teachers = result.teachers.values()
    parameters = [result.student.parameters, *(teacher.parameters for teacher in teachers)]
    measured = [result.metrics.test, *(teacher.metrics for teacher in teachers)]
    table.add_row("parameters", *(f"{size:,}" for size in parameters))
    metric = tasks.from_record(result.task).primary
    values = [(found or {}).get(metric.name) for found in measured]
    shown = ["-" if value is None else metric.show(value, digits(metric, [value])) for value in values]
    table.add_row(f"{metric.label} on test", *shown)
    if result.agreement is not None:
        table.add_row("agreement", f"{100 * result.agreement:.2f} %")
    lines = [f"trained in {result.seconds:.1f} s; selection: {result.selection} epoch"]
    lines += [f"{run.path / name}" for name in ("student.safetensors", "report.html")]
    return Group(table, *map(Text, lines))


def imported(run: Run) -> RenderableType:
    """What was imported, and where it lies."""
    network = load(run)
    normalization = models.normalization_of(network)
    assert normalization is not None
    lines = [
        f"{type(network).__name__}, {models.count_parameters(network):,} parameters",
        f"takes pixels in [0, 1] and normalizes them: {normalization.summary}",
        f"{run.path / 'student.safetensors'}",
    ]
    return Group(*map(Text, lines))


def inspection(
    model: str, source_name: str | None, data_dir: Path | None, shape: str | None, classes: int | None
) -> RenderableType:
    """The features found in a network, with their shapes."""
    facts: Mapping[str, int] = {}
    if shape is None:
        if classes is not None:
            raise LimbeckError("--classes goes with --input; a data set has classes of its own")
        source = data.load(source_name or "digits", data_dir)
        example, classes, facts = source.example(), source.task.width, source.facts
    elif source_name is not None or data_dir is not None:
        raise LimbeckError("--input stands in for a data set; leave out --data and --data-dir")
    else:
        example = torch.rand(2, *sizes(shape), generator=torch.Generator().manual_seed(0))
    network = networks.build(NetworkConfig(model=model), "model", example, classes, facts)
    title = f"{type(network).__name__}, {models.count_parameters(network):,} parameters"
    table = Table("field", "module", "shape", title=title, title_justify="left")
    for field, point, size in features.describe(network, example):
        table.add_row(field, str(point), str(size))
    return table


def methods_table() -> Table:
    """Every method with a line and its paper."""
    table = Table("method", "what it does", "paper")
    for name, method in sorted(methods.table().items()):
        table.add_row(name, _first_line(method), _paper(method))
    return table


def method_details(name: str) -> RenderableType:
    """One method: what it is, its arguments, what it reads, and its recipe."""
    table = methods.table()
    if name not in table:
        raise unknown("method", name, table)
    method = table[name]
    reads = {
        "student": method.reads.student,
        "teacher": method.reads.teacher,
        "batch": method.reads.batch,
        "data": method.reads.data,
    }
    read = [f"{what} {', '.join(names)}" for what, names in reads.items() if names]
    lines = [_paper(method), f"reads: {'; '.join(read) or 'nothing itself'}"]
    lines += [f"recipe: {method.recipe}"] if method.recipe else []
    return _details(name, method, method.__init__, lines)


def models_table() -> Table:
    """Every network with a line and its source, then the named ones with what they are short for."""
    table = Table("model", "what it is", "source")
    for name, entry in models.table().items():
        table.add_row(name, entry.summary, entry.source)
    table.add_section()
    for name, call in models.NAMED.items():
        table.add_row(name, call, "CRD benchmark")
    return table


def model_details(name: str) -> RenderableType:
    """One network with its arguments; one that is short for another call with that of which it is."""
    if name in models.NAMED:
        call = models.NAMED[name]
        return Group(Text(f"{name} is {call}\n", style="bold"), model_details(parse_call(call, "model").name))
    if name not in models.table():
        raise unknown("model", name, [*models.table(), *models.NAMED])
    entry = models.table()[name]
    make = entry.make.__init__ if isinstance(entry.make, type) else entry.make  # type: ignore[misc]
    return _details(name, entry.make, make, [entry.source])


def data_table() -> Table:
    """Every data set with a line and its source."""
    table = Table("data set", "what it is", "source")
    for name, entry in data.table().items():
        table.add_row(name, entry.summary, entry.source)
    return table


def data_details(name: str) -> RenderableType:
    """One data set with its arguments."""
    name = name.replace("-", "_")
    if name not in data.table():
        raise unknown("data set", name, data.table())
    entry = data.table()[name]
    return _details(name, entry.make, entry.make, [entry.source])


def _details(name: str, thing: object, function: Callable[..., Any], lines: list[str]) -> RenderableType:
    """A name with its arguments as the notation takes them, its documentation and some lines."""
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    arguments = [
        p.name if p.default is inspect.Parameter.empty else f"{p.name}={show(p.default)}" for p in parameters
    ]
    call = f"{name}({', '.join(arguments)})" if arguments else name
    documentation = inspect.getdoc(thing) or ""
    return Group(Text(call, style="bold"), Text(), *_paragraphs(documentation), Text(), *map(Text, lines))


def _paragraphs(documentation: str) -> list[RenderableType]:
    """Documentation with its lines joined, so that they break where the terminal ends; lists stay lists."""
    paragraphs: list[tuple[int, str]] = []
    for line in documentation.splitlines():
        indent, text = len(line) - len(line.lstrip()), line.strip()
        above, before = paragraphs[-1] if paragraphs else (0, "")
        if text and before and not before.endswith(":") and (indent > above or indent == 0 == above):
            paragraphs[-1] = above, f"{before} {text}"
        else:
            paragraphs.append((indent, text))
    return [
        Padding(Text(text), (0, 0, 0, indent), expand=False) if text else Text()
        for indent, text in paragraphs
    ]


def _first_line(method: type[Method]) -> str:
    return (inspect.getdoc(method) or "").splitlines()[0]


def _paper(method: type[Method]) -> str:
    first_paragraph = (sys.modules[method.__module__].__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(first_paragraph.split())
