"""`limbeck compare`: finished runs side by side."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from limbeck.cli.terminal import err, out
from limbeck.errors import LimbeckError


class Format(str, Enum):
    """Formats of the comparison."""

    TABLE = "table"
    CSV = "csv"
    MARKDOWN = "markdown"
    LATEX = "latex"


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run directories, or addresses of these.")
    ],
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Run that the others are compared with: an objective, or a name in the table; the run on "
            "labels alone if left out."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="Metric of the task on the test split, validation.NAME on the validation split, or "
            "agreement. May be repeated; the task's first metric if left out."
        ),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="Format of the table.")] = Format.TABLE,
    out_file: Annotated[
        str | None,
        typer.Option("--out", help="File for the table, or its address; printed if left out."),
    ] = None,
    html: Annotated[str | None, typer.Option(help="File for a page with plots, or its address.")] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Compare runs on different data too; leave unfinished ones out.")
    ] = False,
    unequal: Annotated[
        bool, typer.Option("--unequal", help="Give a verdict on unequal numbers of steps too.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the files.")] = False,
) -> None:
    """Compares runs over their seeds.

    It shows mean, deviation, and paired difference to a baseline.

    The test split is for the report. To choose among runs, compare them by validation: --metric
    validation.NAME.
    """
    from limbeck import urls
    from limbeck.report import comparison, formats
    from limbeck.report.comparison_page import comparison_report
    from limbeck.studies.compare import compare as compare_runs
    from limbeck.studies.measures import measures as measures_of

    if html and html == out_file:
        raise LimbeckError(f"--out and --html are both {html!r}; choose two files")
    for file in (out_file, html):
        if file and urls.exists(file) and not overwrite:
            raise LimbeckError(f"{file!r} exists; say --overwrite or another file")
    found = compare_runs(runs, baseline=baseline, anyway=anyway, unequal=unequal)
    measures = measures_of(metric or [], found.contenders[0].task)
    tables = [comparison.comparison_table(found, measures), comparison.training_table(found)]
    for note in found.notes:
        err().print(note, soft_wrap=True)
    if html:
        urls.write_text(html, comparison_report(found, measures))
        err().print(html, soft_wrap=True)
    if form is Format.TABLE and out_file is None:
        alone = [comparison.comparison_table(found, [each]) for each in measures]
        for table in (*alone, tables[-1]):  # beside each other, the measures would not fit a terminal
            out().print(formats.rich_table(table))
        return
    made = {
        Format.TABLE: lambda: "\n".join(map(formats.plain, tables)),
        Format.CSV: lambda: formats.csv_text(comparison.records(found, measures)),
        Format.MARKDOWN: lambda: "\n".join(map(formats.markdown, tables)),
        Format.LATEX: lambda: "\n".join(map(formats.latex, tables)),
    }[form]()
    if out_file:
        urls.write_text(out_file, made)
        err().print(out_file, soft_wrap=True)
    else:
        typer.echo(made, nl=False)
