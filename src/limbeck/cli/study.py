"""`limbeck study`: many runs that answer one question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from limbeck.cli.asked import Asked, asked_for, launcher_of
from limbeck.cli.compare import Format
from limbeck.cli.terminal import err, out, waiting
from limbeck.errors import LimbeckError
from limbeck.stopping import STOPPED, exit_code

if TYPE_CHECKING:
    from limbeck.studies.outcome import Group

app = typer.Typer(
    name="study",
    help="Runs a grid of distillations, and compares them.\n\n"
    "The grid is of students, teachers, objectives and seeds.",
    no_args_is_help=True,
)

File = Annotated[
    str,
    typer.Argument(
        metavar="STUDY", help="YAML file, its address, or the name of a study that limbeck ships."
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", help="Cells whose name holds this, or of this objective. May be repeated."),
]
Scale = Annotated[
    str, typer.Option("--scale", help="full; or small, what the file has for a subset and a short schedule.")
]
Home = Annotated[
    str | None,
    typer.Option(
        "--out",
        help="Directory of the study; runs/NAME if left out. With an address, such as s3://bucket/study, "
        "cells run in runs/NAME, finished ones are copied there, and what is there is not run again.",
    ),
]
Results = Annotated[
    str | None,
    typer.Option("--results", help="File of its figures; results.json in its directory if left out."),
]

Partial = Annotated[
    bool,
    typer.Option(
        "--partial",
        help="Compare over the seeds that two objectives both have, in a study that is not finished.",
    ),
]


@app.command()
def plan(
    study: File, only: Only = None, scale: Scale = "full", home: Home = None, results: Results = None
) -> None:
    """Says how many runs, epochs and hours a study takes.

    It times a few steps of each kind of run, and runs nothing.
    """
    from limbeck.report.formats import rich_table
    from limbeck.report.study_plan import plan_table
    from limbeck.studies.rehearsal import rehearse

    asked = asked_for(study, only, scale, home, results)
    with waiting(err(), "timing some steps of each kind of run"):
        kinds = rehearse(asked.cells, asked.records.read(), timed=True)
    out().print(rich_table(plan_table(asked.study, kinds)))


@app.command()
def run(
    study: File,
    only: Only = None,
    scale: Scale = "full",
    home: Home = None,
    results: Results = None,
    launcher: Annotated[
        str,
        typer.Option(
            help="Where cells run: here; ray, on a Ray cluster that is there; or slurm, as an array job."
        ),
    ] = "here",
    cpus: Annotated[
        int | None, typer.Option(min=1, help="Processors of a cell on ray or slurm; 1 if left out.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=0, help="GPUs of a cell on ray or slurm; none if left out.")
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="What submitit is told besides, such as slurm_partition=gpu or timeout_min=240; repeatable.",
        ),
    ] = None,
) -> None:
    """Runs what is not finished of a study.

    It may be stopped, and goes on when it is called again.
    """
    from limbeck.report.writing import write_report
    from limbeck.studies.rehearsal import rehearse
    from limbeck.studies.running import check_unchanged, run_study

    chosen = launcher_of(launcher, cpus, gpus, slurm or [])
    asked = asked_for(study, only, scale, home, results)
    check_unchanged(asked.cells, asked.home, asked.records)
    rehearse(asked.cells, {*asked.records.read(), *_begun(asked)}, timed=False)
    remote = asked.remote
    if remote:
        remote.push_missing(asked.cells, asked.records.read())
        remote.fetch_teachers(
            asked.cells, asked.home, asked.records, lambda text: err().print(text, soft_wrap=True)
        )
    try:
        done = run_study(
            asked.cells,
            asked.home,
            asked.records,
            asked.study.figures,
            launcher=chosen,
            report=write_report,
            note=lambda text: err().print(text, soft_wrap=True),
            keep=remote.push if remote else lambda cell, record: None,
        )
    except STOPPED as stopped:
        kept = asked.records.read()
        finished = sum(cell.key in kept for cell in asked.cells.all)
        err().print(
            f"stopped; {finished} of {len(asked.cells.all)} cells are finished, and the same command goes on",
            soft_wrap=True,
        )
        raise typer.Exit(exit_code(stopped)) from None
    out().print(f"{len(done.finished)} of {len(asked.cells.all)} cells are finished", soft_wrap=True)
    for key, log in done.failed.items():
        out().print(f"failed: {key}, log {log}", soft_wrap=True)
    if done.waiting:
        out().print(f"not run, as a teacher is missing: {', '.join(done.waiting)}", soft_wrap=True)
    if done.elsewhere:
        out().print(f"left to other processes: {', '.join(done.elsewhere)}", soft_wrap=True)
    if done.failed:
        raise typer.Exit(1)


@app.command()
def status(
    study: File, only: Only = None, scale: Scale = "full", home: Home = None, results: Results = None
) -> None:
    """Says how far a study has come, also while it runs."""
    from limbeck.report.formats import rich_table
    from limbeck.report.study_plan import status_table
    from limbeck.studies.running import check_unchanged
    from limbeck.studies.status import status as status_of

    asked = asked_for(study, only, scale, home, results)
    check_unchanged(asked.cells, asked.home, asked.records)
    left = status_table(status_of(asked.cells, asked.home, asked.records))
    out().print(rich_table(left) if left.rows else left.notes)


@app.command()
def table(
    study: File,
    only: Only = None,
    scale: Scale = "full",
    home: Home = None,
    results: Results = None,
    partial: Partial = False,
    published: Annotated[
        bool, typer.Option("--published", help="Beside the papers' figures that the study names.")
    ] = False,
    form: Annotated[Format, typer.Option("--format", help="Format of the tables.")] = Format.TABLE,
    file: Annotated[
        str | None, typer.Option("--file", help="File for the tables, or its address; printed if left out.")
    ] = None,
) -> None:
    """Shows what came out of a study.

    There are differences to the baseline, costs, and what else was measured.
    """
    from limbeck import urls
    from limbeck.report import formats
    from limbeck.report.study_published import published_tables
    from limbeck.report.study_tables import all_tables, records_of

    asked, found = _found(study, only, scale, home, results, partial)
    if form is Format.CSV:
        if published:
            raise LimbeckError("--published has no --format csv; choose table, markdown or latex")
        text = formats.csv_text(records_of(found))
    else:
        tables = (published_tables if published else all_tables)(asked.study, found)
        if form is Format.TABLE and file is None:
            for each in tables:
                out().print(formats.rich_table(each))
            return
        made = {Format.TABLE: formats.plain, Format.MARKDOWN: formats.markdown, Format.LATEX: formats.latex}[
            form
        ]
        head = "{0.caption}\n\n" if form is Format.MARKDOWN else ""
        text = "".join(f"{head.format(each)}{made(each)}\n" for each in tables)
    if file is None:
        typer.echo(text, nl=False)
    else:
        urls.write_text(file, text)
        err().print(file, soft_wrap=True)


@app.command()
def report(
    study: File,
    only: Only = None,
    scale: Scale = "full",
    home: Home = None,
    results: Results = None,
    partial: Partial = False,
    html: Annotated[
        str | None,
        typer.Option(
            help="File of the page, or its address; report.html in the study's directory if left out."
        ),
    ] = None,
) -> None:
    """Writes the page of a study, with tables and plots.

    It links to the pages of the runs.
    """
    from pathlib import Path

    from limbeck import urls
    from limbeck.report.study_page import study_page
    from limbeck.report.study_runs import pages_of

    asked, found = _found(study, only, scale, home, results, partial)
    file = html or (f"{asked.remote.url}/report.html" if asked.remote else str(asked.home / "report.html"))
    pages = {} if urls.is_url(file) else pages_of(asked.cells.all, Path(file).parent)
    urls.write_text(file, study_page(asked.study, found, pages))
    out().print(file, soft_wrap=True)


def _found(
    file: str, only: list[str] | None, scale: str, home: str | None, results: str | None, partial: bool
) -> tuple[Asked, list[Group]]:
    """What is asked, and what came of it."""
    from limbeck.studies.outcome import groups
    from limbeck.studies.running import check_unchanged

    asked = asked_for(file, only, scale, home, results)
    check_unchanged(asked.cells, asked.home, asked.records)
    return asked, groups(asked.study, asked.cells, asked.records.read(), partial=partial)


def _begun(asked: Asked) -> list[str]:
    """The cells that have been begun, which were found to work then."""
    return [cell.key for cell in asked.cells.all if (cell.path / "config.yaml").exists()]
