"""`limbeck tune`: arguments of objectives, chosen on validation under a budget of time."""

from __future__ import annotations

from typing import Annotated

import typer

from limbeck.cli.asked import read_asked
from limbeck.cli.study import File, Scale
from limbeck.cli.terminal import err, out
from limbeck.stopping import STOPPED, exit_code


def tune(
    study: File,
    scale: Scale = "full",
    home: Annotated[
        str | None, typer.Option("--out", help="Directory of the tuning; runs/NAME-tuned if left out.")
    ] = None,
) -> None:
    """Chooses what a study leaves open, by trials on validation.

    The winner runs beside the baseline, which was tuned in the same time.

    It may be stopped, and goes on when it is called again. Called several times, it shares the work.
    """
    from limbeck.files import write_text
    from limbeck.report.formats import rich_table
    from limbeck.report.tuning import tuning_page, tuning_tables
    from limbeck.report.writing import write_report
    from limbeck.studies.tuning.door import tune as tuned

    asked, path = read_asked(study, scale, home, "-tuned")
    try:
        found = tuned(asked, path, report=write_report, note=lambda text: err().print(text, soft_wrap=True))
    except STOPPED as stopped:
        err().print("stopped; the same command goes on", soft_wrap=True)
        raise typer.Exit(exit_code(stopped)) from None
    for table in tuning_tables(found):
        out().print(rich_table(table))
    for key, log in found.progress.failed.items():
        out().print(f"failed: {key}, log {log}", soft_wrap=True)
    if found.progress.elsewhere:
        out().print(f"left to other processes: {', '.join(found.progress.elsewhere)}", soft_wrap=True)
    if found.group is not None:
        write_text(path / "report.html", tuning_page(found))
        out().print(path / "report.html", soft_wrap=True)
    if found.progress.failed:
        raise typer.Exit(1)
