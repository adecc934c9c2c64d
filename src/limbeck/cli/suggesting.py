"""`limbeck suggest`: objectives for what is at hand, with the reason and what was measured."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli import options
from limbeck.cli.terminal import out
from limbeck.errors import LimbeckError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from limbeck.advice import Finding, Situation, Suggestion


SHOWN = 3
"""Findings that are shown of an objective."""
LABELS: Mapping[str, str] = {
    "all": "all with a label",
    "some": "some with a label",
    "none": "none with a label",
    "noisy": "some of the labels wrong",
}
TEACHERS: Mapping[str, str] = {
    "none": "no teacher",
    "network": "a network as the teacher",
    "logits": "a teacher of which logits can be read",
    "embeddings": "a teacher of which logits and embeddings can be read",
    "answers": "a file of answers as the teacher",
    "several": "several teachers",
}


def suggest(
    data: options.Data = None,
    data_dir: options.DataDir = None,
    task: options.Task = None,
    inputs: Annotated[
        str | None, typer.Option(help="image, table, text or other; in place of --data.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Training samples with a label: all, some, none, or noisy; in place of --data."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Number of training samples; in place of --data.")
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="A teacher as `limbeck distill` takes it, or what it is: none, network, logits, embeddings, "
            "answers, several. May be repeated. none if left out."
        ),
    ] = None,
    student: options.Student = None,
    far: Annotated[bool, typer.Option("--far", help="The teacher is far above its student.")] = False,
    budget: Annotated[
        float | None,
        typer.Option(help="Most that a training step may cost, over one of the student alone: 1.5."),
    ] = None,
) -> None:
    """Proposes objectives for what is at hand.

    Each comes with the reason and with what was measured of it.
    """
    from limbeck import advice

    given = _given(data, data_dir, task, inputs, labels, samples, teacher or [], student, far, budget)
    out().print(shown(given, advice.suggest(given)))


def _given(
    data: str | None,
    data_dir: object,
    task: str | None,
    inputs: str | None,
    labels: str | None,
    samples: int | None,
    teacher: Sequence[str],
    student: str | None,
    far: bool,
    budget: float | None,
) -> Situation:
    """What is at hand: read off the data, or as the options say it."""
    from limbeck import advice
    from limbeck import data as sources
    from limbeck.advice.situation import family_of, teacher_of

    said = {"--inputs": inputs, "--labels": labels, "--samples": samples}
    if data is not None:
        known = [option for option, value in said.items() if value is not None]
        if known:
            raise LimbeckError(f"{known[0]} stands in place of --data, which says it; leave one out")
        source = sources.load(sources.spelled_out(data, task), data_dir)  # type: ignore[arg-type]
        return advice.situation(source, teacher, student=student, far=far, budget=budget)
    if data_dir is not None:
        raise LimbeckError("--data-dir is where the files of --data lie; give that too")
    kind = teacher_of(teacher)
    return advice.Situation(
        task=task or "classification",
        kind=inputs,  # type: ignore[arg-type] # it is checked there, as is the next
        labels=labels or "all",  # type: ignore[arg-type]
        samples=samples,
        teacher=kind,
        family=family_of(student, teacher[0]) if kind == "network" else None,
        far=far,
        budget=budget,
    )


def shown(given: Situation, found: Sequence[Suggestion]) -> RenderableType:
    """What is at hand, and the suggestions."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    if not found:
        return Text(
            f"{_situation(given)}\n\nThe guide has nothing for this; `limbeck tasks {given.task}` shows the "
            "methods that serve the task."
        )
    parts: list[RenderableType] = [Text(_situation(given)), Text()]
    for number, each in enumerate(found, 1):
        parts.append(Text.assemble(f"{number}. ", (each.objective, "bold")))
        parts += [Padding(Text(line), (0, 0, 0, 3), expand=False) for line in _lines(each, given)]
        parts.append(Text())
    parts.append(
        Text(
            "The order is that of the guide (docs/methods.md), after what was better than the student alone "
            "on data like yours and before what was worse. Figures of other data rank nothing: measure the "
            "student alone beside what you take, with five seeds (limbeck compare)."
        )
    )
    return Group(*parts)


def _situation(given: Situation) -> str:
    kind = {"image": "images", "table": "tables", "text": "texts"}.get(given.kind or "", "")
    samples = "" if given.samples is None else f"{given.samples:,} training samples, "
    return (
        f"{given.task}{f' of {kind}' if kind else ''}: {samples}{LABELS[given.labels]}; "
        f"{TEACHERS[given.teacher]}"
        + (f"; a step may cost {given.budget:g} of one of the student alone" if given.budget else "")
    )


def _lines(each: Suggestion, given: Situation) -> list[str]:
    from limbeck import tasks

    lines = [f"for {each.at_hand}: {_plain(each.because)}"]
    if each.options:
        lines.append(f"with {_plain(each.options)}")
    if each.near:
        lines += [f"measured on such data: {_cited(found)}" for found in each.findings[: each.near][:SHOWN]]
    elif each.findings:
        lines.append("not measured on such data")
    elif each.objective == tasks.named(given.task).of_width(2).recipe(teacher=False):
        lines.append("this is the student alone, beside which the others are measured")
    else:
        lines.append("not measured beside the student alone in limbeck's benchmarks for this task")
    elsewhere = each.findings[each.near :]
    lines += [f"elsewhere: {_cited(found)}" for found in elsewhere[: max(0, SHOWN - each.near)]]
    hidden = len(each.findings) - SHOWN
    if hidden > 0:
        lines.append(f"and {hidden} more")
    if said := _cost(each, given.budget):
        lines.append(said)
    return lines


def _cost(each: Suggestion, budget: float | None) -> str:
    """What a step takes, in a sentence; and what has the teacher's answers kept."""
    live, cached = each.took("live"), each.took("cached")
    ways = [f"{_span(live)} times that of the student alone"] if live else []
    if cached:
        kept = "" if live else " times that of the student alone"
        ways.append(f"{_span(cached)}{kept} with --cache-teacher {each.cached}")
    if not ways:
        return f"the teacher's answers may be kept: --cache-teacher {each.cached}" if each.cached else ""
    files = ", ".join(dict.fromkeys(f"benchmarks/{cost.benchmark}" for cost in each.costs))
    if not cached and each.cached:
        files += f"; --cache-teacher {each.cached} keeps the teacher's answers"
    dear = budget is not None and bool(live) and min(live) > budget
    within = ", which alone is within the budget" if dear and cached else ""
    return f"a training step takes {', '.join(ways)}{within} ({files})"


def _span(ratios: Sequence[float]) -> str:
    """The least and the most of some ratios."""
    least, most = (f"{each:.2f}" for each in (min(ratios), max(ratios)))
    return least if least == most else f"{least} to {most}"


def _cited(found: Finding) -> str:
    return f"{found} (benchmarks/{found.benchmark})"


def _plain(text: str) -> str:
    """Text of a page for the terminal."""
    return re.sub(r"\[([^\]]+)\]\([^)]*\)", r"docs/\1", text).replace("`", "")
