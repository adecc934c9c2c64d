"""`limbeck answers`: files of answers that somebody else's model gives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli import options
from limbeck.cli.terminal import out

app = typer.Typer(help="Writes files for answers of somebody else's model.", no_args_is_help=True)

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file.")]


@app.callback()
def answers() -> None:
    """Writes files for answers of somebody else's model, such as an LLM, that teach as --teacher FILE."""


@app.command()
def template(
    data: Annotated[str, typer.Argument(help="Data set, with arguments if it has any: text(path=...).")],
    out_file: Annotated[Path, typer.Option("--out", help="File to write, .jsonl or .csv.")],
    data_dir: options.DataDir = None,
    overwrite: Overwrite = False,
) -> None:
    """Writes a file to fill, a line for each training sample.

    A line has the sample's id, its text and an empty label.
    """
    from limbeck import data as sources
    from limbeck.teachers.files import writing

    writing.check_place(out_file, overwrite=overwrite)
    source = sources.load(data, data_dir)
    rows = list(writing.template(source))
    writing.write(out_file, rows)
    names = source.task.names
    known = (
        f"{len(names)} classes: {', '.join(names)}"
        if names
        else "the data names no classes; give them, names=[...]"
    )
    out().print(known, soft_wrap=True)
    out().print(f"{len(rows):,} training samples of {source.name}", soft_wrap=True)
    out().print(out_file, soft_wrap=True)
