"""What `--dry-run` prints."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from limbeck.byte_sizes import sized
from limbeck.durations import duration
from limbeck.runs.dry_run import Plan


def shown(plan: Plan, *, alone: bool) -> RenderableType:
    """A plan, for a terminal.

    Args:
        plan: of a run.
        alone: whether the student is then trained alone.
    """
    table = Table("", "epochs", "steps", "ms a step", "time")
    for each in plan.stretches:
        known = each.step is not None
        table.add_row(
            each.name,
            f"{each.epochs:,}",
            f"{each.steps:,}",
            f"{1000 * each.step:,.1f}" if each.step is not None else "-",
            duration(each.steps * (each.step or 0)) if known else "-",
        )
    return Group(*map(Text, _made_of(plan)), table, *map(Text, _takes(plan, alone)))


def _made_of(plan: Plan) -> Iterator[str]:
    source, split = plan.job.source, plan.job.split
    measured = [
        f"{len(part):,} for {name}"
        for name, part in (("validation", source.validation), ("test", source.test))
        if part is not None
    ]
    yield (
        f"data: {source.name}, {source.task.name} with {source.task.summary}; "
        f"{', '.join([f'{len(split):,} samples to learn from', *measured])}"
    )
    for role, (all_of_them, learning) in plan.parameters.items():
        learns = "" if role != "student" or learning == all_of_them else f", of which {learning:,} learn"
        config = {"student": plan.job.config.student, **plan.job.config.taught_by}[role]
        yield f"{role}: {config.model}, {all_of_them:,} parameters{learns}"
    yield f"objective: {plan.job.distiller.objective}"
    yield from (*plan.job.notes, *plan.job.asked, *plan.job.distrusted)
    yield f"on {plan.device} in {plan.precision}"


def _takes(plan: Plan, alone: bool) -> Iterator[str]:
    seconds = plan.seconds
    whole = "not known, as too few steps could be done" if seconds is None else f"about {duration(seconds)}"
    yield f"time: {whole}, without what is measured after each epoch and in the end"
    if alone:
        yield (
            "afterwards the student is trained alone, for up to as long again; --baseline none leaves "
            "that out"
        )
    of = "of the whole process" if plan.device.type == "cpu" else f"of {plan.device}"
    yield f"memory: {sized(plan.peak)} at most, {of}"
    kept = f", {plan.kept} of them on the way" if plan.kept else ""
    yield (
        f"disk: {sized(2 * plan.checkpoint)} for two checkpoints, {sized(plan.weights)} for the student{kept}"
    )
    for each in plan.caches:
        size = each.kept * each.samples * sum(each.bytes.values())
        yield (
            f"cache: {sized(size)} for {each.kept:,} of {each.views:,} views, filled in about "
            f"{duration(each.kept * each.samples * each.seconds)}"
        )
    yield "nothing was written"
