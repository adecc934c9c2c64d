"""`limbeck compare`: finished runs side by side."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from limbeck.errors import LimbeckError


class Format(str, Enum):
    """What the comparison is printed as."""

    TABLE = "table"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories.")],
    baseline: Annotated[
        str | None,
        typer.Option(help="What the others are compared with: an objective, or a name in the table; ce."),
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="top1, top5, nll, ece or agreement; top1. Any number of times.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="What to print.")] = Format.TABLE,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="A file for it, instead of the screen.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="A file for a page with plots.")] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare runs on different data too; leave unfinished ones out.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files.")] = False,
) -> None:
    """Compares runs over their seeds: mean, deviation, and paired difference to a baseline."""
    from limbeck.files import write_text
    from limbeck.report import comparison, formats
    from limbeck.report.comparison_page import comparison_report
    from limbeck.studies.compare import compare as compare_runs

    if html and html == out_file:
        raise LimbeckError(f"--out and --html are both {str(html)!r}; choose two files")
    for file in (out_file, html):
        if file and file.exists() and not overwrite:
            raise LimbeckError(f"{str(file)!r} exists; say --overwrite or another file")
    found = compare_runs(runs, baseline=baseline, anyway=anyway)
    what = (found.contenders, found.baseline, metric or ["top1"])
    table = comparison.comparison_table(*what)
    notes = Console(stderr=True, highlight=False)
    for note in found.notes:
        notes.print(note, soft_wrap=True, markup=False)
    if html:
        write_text(html, comparison_report(*what, found.notes))
        notes.print(html, soft_wrap=True, markup=False)
    if form is Format.TABLE and out_file is None:
        for name in metric or ["top1"]:  # beside each other, they would not fit a terminal
            each = comparison.comparison_table(found.contenders, found.baseline, [name])
            Console(highlight=False).print(formats.rich_table(each))
        return
    made = {
        Format.TABLE: lambda: formats.plain(table),
        Format.CSV: lambda: formats.csv_text(comparison.records(*what)),
        Format.MARKDOWN: lambda: formats.markdown(table),
        Format.LATEX: lambda: formats.latex(table),
    }[form]()
    if out_file:
        write_text(out_file, made)
        notes.print(out_file, soft_wrap=True, markup=False)
    else:
        typer.echo(made, nl=False)
