"""`limbeck cache`: the answers of teachers that are kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from limbeck.errors import LimbeckError
from limbeck.files import cache_directory

if TYPE_CHECKING:
    from limbeck.teachers.cache_admin import CacheFile

out = Console(highlight=False, markup=False)
app = typer.Typer(
    help="Fills, lists, checks and removes what is kept of teachers' answers.", no_args_is_help=True
)

Name = Annotated[str | None, typer.Argument(help="The cache's name in the list, or its beginning.")]


@app.command()
def fill(
    config: Annotated[Path | None, typer.Argument(help="YAML file of the run; flags override it.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Run directory, checkpoint or module:factory.")] = None,
    data: Annotated[str | None, typer.Option(help="Data set: a name of `limbeck data`.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the data set's files are.")] = None,
    views: Annotated[int | None, typer.Option(help="Views of each sample; all if left out.")] = None,
    cache_teacher: Annotated[
        str | None, typer.Option(help="What to keep: logits (if left out), embedding or both.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples asked about at once.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any config value: training.precision=fp32")
    ] = None,
) -> None:
    """Asks a teacher beforehand all that a run with these settings would; goes on where it was stopped."""
    from limbeck.config import parse_settings
    from limbeck.runs.filling import fill as filling

    begun = time.perf_counter()
    steps = filling(
        config,
        teacher=teacher,
        data=data,
        data_dir=data_dir,
        views=views,
        cache_teacher=cache_teacher,
        batch_size=batch_size,
        settings=parse_settings(settings or []),
    )
    terminal = Console(stderr=True)
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("asking", total=None)
        try:
            for state in steps:
                bar.update(task, total=state.views * state.samples, completed=state.done)
        except KeyboardInterrupt:
            typer.echo("limbeck: interrupted; the same command goes on from here", err=True)
            raise typer.Exit(130) from None
    views_of = f"{state.views} {'view' if state.views == 1 else 'views'} of {state.samples:,} samples"
    seconds = time.perf_counter() - begun
    out.print(f"{views_of}: {state.done:,} answers, {state.asked:,} of them new, in {seconds:.1f} s")


@app.command("list")
def list_() -> None:
    """Lists the caches: whose answers, to what, how many, and their size on disk."""
    _show(check=False)


@app.command()
def verify(name: Name = None) -> None:
    """Checks every answer of all caches, or of one; exits with 1 if something is damaged."""
    if _show(name, check=True):
        out.print("What is damaged will be asked for anew.")
        raise typer.Exit(1)


@app.command()
def clear(
    name: Name = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every cache of a teacher.")] = False,
) -> None:
    """Removes one cache, or all; a run that uses one goes on."""
    from limbeck.teachers.cache_admin import cache_files

    if (name is None) == (not everything):
        raise LimbeckError("say which cache to remove, by its name in `limbeck cache list`, or --all")
    files = cache_files(name)
    freed = sum(file.stat().st_blocks * 512 for file in files)
    for file in files:
        file.unlink()
    out.print(f"removed {len(files)} {'cache' if len(files) == 1 else 'caches'}, {_size(freed)}")


def _show(name: str | None = None, *, check: bool) -> bool:
    """Prints the caches; says whether something is damaged."""
    from limbeck.teachers.cache_admin import cache_files, examine

    files = [examine(path, check=check) for path in cache_files(name)]
    if not files:
        out.print(f"no teacher's answers are kept in {cache_directory() / 'teachers'}", soft_wrap=True)
    for file in files:
        out.print(_described(file), soft_wrap=True)
    return any(file.damaged for file in files)


def _described(file: CacheFile) -> str:
    if not file.key:
        return f"{file.path.stem}  damaged: it does not say what it holds, {_size(file.bytes)}"
    key, indent = file.key, " " * (len(file.path.stem) + 2)
    state = f"{file.rows:,} answers, {file.views:.3g} for each of {key['samples']:,} samples"
    if file.torn is not None:
        state += f", {file.torn:,} damaged" if file.torn else ", all sound"
    prepared = f", {key['preparation']}" if "preparation" in key else ""
    return (
        f"{file.path.stem}  {key['field']} of {key['teacher']} in {key['precision']}\n"
        f"{indent}data {file.about.get('data', '')} {key['data']}, views {key['views']}{prepared}\n"
        f"{indent}{state}, {_size(file.bytes)} on disk"
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
