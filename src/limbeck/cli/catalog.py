"""The lists that `limbeck tasks`, `models` and `data` print, and the entries of these and of the methods."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from limbeck import data, methods, models, tasks
from limbeck.checks import misfit
from limbeck.errors import unknown
from limbeck.methods import Method
from limbeck.notation import parse_call, show
from limbeck.tasks import Task


def described(method: type[Method]) -> tuple[str, str]:
    """What a method does, and its paper."""
    return _first_paragraph(method), _paper(method)


def method_details(name: str) -> RenderableType:
    """One method: what it is, its arguments, what it reads, the tasks that it serves, and its recipe."""
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
    served = [name for name, task in tasks.table().items() if misfit(method, task) is None]
    lines = [
        _paper(method),
        f"reads: {'; '.join(read) or 'nothing itself'}",
        f"tasks: {', '.join(served) or 'none of those installed'}",
    ]
    lines += [f"recipe: {method.recipe}"] if method.recipe else []
    return _details(name, method, method.__init__, lines)


def tasks_table() -> Table:
    """Every task with a line and its metrics."""
    table = Table("task", "targets and rows", "metrics")
    for name, task in tasks.table().items():
        table.add_row(name, _first_paragraph(task), _metrics(task))
    return table


def task_details(name: str) -> RenderableType:
    """One task: its targets, rows and metrics, the objectives of runs that name none, and its methods."""
    task = tasks.named(name)
    about = (inspect.getdoc(task) or "").partition("\nArgs:")[0].rstrip()
    served = [name for name, method in sorted(methods.table().items()) if misfit(method, task) is None]
    example = task.of_width(2)
    facts = Table.grid(padding=(0, 2))
    facts.add_row("metrics:", f"{_metrics(task)}; {example.primary.label} selects epochs and is compared")
    facts.add_row("default objective:", f"{example.recipe(teacher=True)} with a teacher")
    facts.add_row("", f"{example.recipe(teacher=False)} without a teacher")
    facts.add_row("methods:", ", ".join(served))
    return Group(Text(name, style="bold"), Text(), *_paragraphs(about), Text(), facts)


def models_table() -> Table:
    """Every network with a line and its source, then the short names with the calls they stand for."""
    table = Table("model", "what it is", "source")
    for name, entry in models.table().items():
        table.add_row(name, entry.summary, entry.source)
    table.add_section()
    for name, call in models.NAMED.items():
        table.add_row(name, call, "CRD benchmark")
    return table


def model_details(name: str) -> RenderableType:
    """One network with its arguments; for a short name also the call it stands for."""
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


def _first_paragraph(thing: object) -> str:
    """The first paragraph of a docstring in one line."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())


def _metrics(task: type[Task]) -> str:
    return ", ".join(metric.label for metric in task.metrics)


def _paper(method: type[Method]) -> str:
    return _first_paragraph(sys.modules[method.__module__])
