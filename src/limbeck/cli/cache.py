"""`limbeck cache`: teachers' outputs that are kept on disk."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.byte_sizes import sized
from limbeck.cli import options
from limbeck.cli.terminal import err, out
from limbeck.durations import duration
from limbeck.errors import LimbeckError
from limbeck.files import cache_directory
from limbeck.stopping import STOPPED, exit_code

if TYPE_CHECKING:
    from collections.abc import Iterator

    from limbeck.runs.planning import Planned
    from limbeck.teachers.cache_admin import CacheFile

app = typer.Typer(help="Plans, fills, lists and checks caches of teachers' outputs.", no_args_is_help=True)

Name = Annotated[str | None, typer.Argument(help="Name of the cache in the list, or its beginning.")]


Forward = Annotated[int | None, typer.Option(help="Samples per forward pass.")]


@app.command()
def plan(
    config: options.Config = None,
    student: options.Student = None,
    teacher: options.Teacher = None,
    data: options.Data = None,
    data_dir: options.DataDir = None,
    task: options.Task = None,
    objective: options.Objective = None,
    views: options.Views = None,
    cache_teacher: options.CacheTeacher = None,
    cache_budget: options.CacheBudget = None,
    batch_size: Forward = None,
    device: options.Device = None,
    settings: options.Settings = None,
) -> None:
    """Says how many rows, bytes and hours a cache would take.

    It asks the teacher about a few batches, and keeps nothing.
    """
    from limbeck.cli import values
    from limbeck.runs.arguments import RunArguments
    from limbeck.runs.planning import plan as planning

    arguments = RunArguments(
        config=config,
        student=student,
        teacher=teacher,
        data=data,
        data_dir=data_dir,
        task=task,
        objective=objective,
        views=views,
        cache_teacher=cache_teacher,
        cache_budget=cache_budget,
        batch_size=batch_size,
        device=device,
        settings=values.settings(settings or []),
    )
    for planned in planning(arguments):
        for line in _planned(planned):
            out().print(line, soft_wrap=True)


@app.command()
def fill(
    config: options.Config = None,
    student: options.Student = None,
    teacher: options.Teacher = None,
    data: options.Data = None,
    data_dir: options.DataDir = None,
    task: options.Task = None,
    objective: options.Objective = None,
    views: options.Views = None,
    cache_teacher: options.CacheTeacher = None,
    cache_budget: options.CacheBudget = None,
    batch_size: Forward = None,
    device: options.Device = None,
    settings: options.Settings = None,
) -> None:
    """Asks a teacher in advance for all that a run would.

    It may be stopped, and continues when it is called again.
    """
    from rich.progress import Progress

    from limbeck.cli import values
    from limbeck.runs.filling import fill as filling

    begun = time.perf_counter()
    steps = filling(
        config,
        student=student,
        teacher=teacher,
        data=data,
        data_dir=data_dir,
        task=task,
        objective=objective,
        views=views,
        cache_teacher=cache_teacher,
        cache_budget=cache_budget,
        batch_size=batch_size,
        device=device,
        settings=values.settings(settings or []),
    )
    bar = Progress(console=err(), transient=True)
    asking = bar.add_task("asking", total=None)
    with bar if err().is_terminal else nullcontext():  # older versions of rich would write an empty line
        try:
            for state in steps:
                bar.update(asking, total=state.views * state.samples, completed=state.done)
                if state.done == state.views * state.samples:
                    views_of = f"{state.views} {_plural('view', state.views)} of {state.samples:,} {state.of}"
                    seconds = time.perf_counter() - begun
                    answers = f"{state.done:,} answers, {state.asked:,} of them new, in {seconds:.1f} s"
                    out().print(f"{views_of}: {answers}")
                    if state.shortage:
                        out().print(state.shortage, soft_wrap=True)
                    begun = time.perf_counter()
        except STOPPED as stopped:
            typer.echo("limbeck: interrupted; the same command continues from here", err=True)
            raise typer.Exit(exit_code(stopped)) from None


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="Name of the cache in the list, or its beginning.")],
    out_file: Annotated[Path, typer.Option("--out", help="File to write, .jsonl or .csv.")],
    data: Annotated[
        str | None, typer.Option(help="Data set that it is about; the one in the list if left out.")
    ] = None,
    data_dir: options.DataDir = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Writes a cache of logits as a file of answers.

    It has one answer for each sample as it is, without augmentation.
    """
    from limbeck import data as sources
    from limbeck.teachers.cache_admin import cache_files, examine
    from limbeck.teachers.files import writing

    writing.check_place(out_file, overwrite=overwrite)
    (file,) = cache_files(name)
    source = sources.load(data or examine(file, check=False).about.get("data", ""), data_dir)
    rows = list(writing.of_cache(file, source))
    if not rows:
        raise LimbeckError(
            f"the cache {file.stem} has no answer about a sample as it is, without augmentation; fill one "
            "with `limbeck cache fill` and --set data.views=none"
        )
    writing.write(out_file, rows)
    out().print(f"answers to {len(rows):,} of {len(source.train):,} training samples of {source.name}")
    out().print(out_file, soft_wrap=True)


@app.command("list")
def list_() -> None:
    """Lists the caches, with teacher, data, answers and size."""
    _show(check=False)


@app.command()
def verify(
    name: Name = None,
    student: options.Student = None,
    teacher: options.Teacher = None,
    data: options.Data = None,
    data_dir: options.DataDir = None,
    task: options.Task = None,
    batch_size: Forward = None,
    device: options.Device = None,
    settings: options.Settings = None,
) -> None:
    """Checks every answer in all caches, or in one.

    It exits with 1 if an answer is damaged.

    With a language model as the teacher, and its data, it asks the teacher anew about the true tokens and
    exits with 2 if the cache says something else.
    """
    if teacher is not None:
        if name is not None:
            raise LimbeckError("a cache is found by its teacher and data; leave out its name")
        _ask_anew(student, teacher, data, data_dir, task, batch_size, device, settings)
        return
    idle = {
        "--student": student,
        "--data": data,
        "--data-dir": data_dir,
        "--task": task,
        "--batch-size": batch_size,
        "--device": device,
        "--set": settings or None,
    }
    for option, value in idle.items():
        if value is not None:
            raise LimbeckError(f"{option} says how the teacher is asked anew; name it, too (--teacher)")
    if _show(name, check=True):
        out().print("Damaged answers will be asked for again.")
        raise typer.Exit(1)


@app.command()
def clear(
    name: Name = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every cache of a teacher.")] = False,
) -> None:
    """Removes one cache, or all; a run that uses it continues."""
    from limbeck.teachers.cache_admin import cache_files

    if (name is None) == (not everything):
        raise LimbeckError("name the cache to remove, as `limbeck cache list` does, or say --all")
    files = cache_files(name)
    freed = sum(file.stat().st_blocks * 512 for file in files)
    for file in files:
        file.unlink()
    out().print(f"removed {len(files)} {_plural('cache', len(files))}, {sized(freed)}")


def _ask_anew(
    student: str | None,
    teacher: str | None,
    data: str | None,
    data_dir: Path | None,
    task: str | None,
    batch_size: int | None,
    device: str | None,
    settings: list[str] | None,
) -> None:
    """Compares a cache with its teacher."""
    from limbeck.cli import values
    from limbeck.runs.arguments import RunArguments
    from limbeck.runs.verifying import verify as verifying

    found = verifying(
        RunArguments(
            student=student,
            teacher=teacher,
            data=data,
            data_dir=data_dir,
            task=task,
            batch_size=batch_size,
            device=device,
            settings=values.settings(settings or []),
        )
    )
    out().print(
        f"{found.samples:,} of {found.of:,} samples: {found.compared:,} true tokens compared with the "
        f"teacher, {found.beyond:,} not among those told apart",
        soft_wrap=True,
    )
    out().print(f"difference in nats: at most {found.largest:.2g}, mean {found.mean:.2g}", soft_wrap=True)
    if found.wrong:
        raise LimbeckError(
            f"the cache gives {found.wrong:,} tokens another log-probability than its teacher, by more than "
            f"{found.tolerance:g} nats; remove it (limbeck cache clear) and fill it again"
        )


def _show(name: str | None = None, *, check: bool) -> bool:
    """Prints the caches; returns whether an answer is damaged."""
    from limbeck.teachers.cache_admin import cache_files, examine

    files = [examine(path, check=check) for path in cache_files(name)]
    if not files:
        out().print(f"there are no caches in {cache_directory() / 'teachers'}", soft_wrap=True)
    for file in files:
        out().print(_described(file), soft_wrap=True)
    return any(file.damaged for file in files)


def _planned(planned: Planned) -> Iterator[str]:
    """What a plan says: of each file, of a view and of all, and what there is no room for."""
    samples, views = planned.samples, planned.views
    for name, size in planned.bytes.items():
        yield f"{name}: {samples:,} rows of {size:,} bytes a view"
    rows, total = samples * len(planned.bytes), samples * sum(planned.bytes.values())
    for count in sorted({1, planned.kept or 1, views}):
        yield (
            f"{count:,} {_plural('view', count)}: {count * rows:,} rows, {sized(count * total)}, about "
            f"{duration(count * samples * planned.seconds)} at {1000 * planned.seconds:.2g} ms a sample"
        )
    if planned.shortage:
        yield planned.shortage


def _plural(noun: str, count: int) -> str:
    return noun if count == 1 else f"{noun}s"


def _described(file: CacheFile) -> str:
    if not file.key:
        return f"{file.path.stem}  damaged: its description cannot be read, {sized(file.bytes)}"
    key, indent = file.key, " " * (len(file.path.stem) + 2)
    of = "pairs" if "pairs" in key else "samples"
    state = f"{file.rows:,} answers, {file.views:.3g} for each of {key['samples']:,} {of}"
    if file.torn is not None:
        state += f", {file.torn:,} damaged" if file.torn else ", all sound"
    prepared = f", {key['preparation']}" if "preparation" in key else ""
    return (
        f"{file.path.stem}  {key['field']} of {key['teacher']} in {key['precision']}\n"
        f"{indent}data {file.about.get('data', '')} {key['data']}, views {key['views']}{prepared}\n"
        f"{indent}{state}, {sized(file.bytes)} on disk"
    )
