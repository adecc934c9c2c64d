"""`limbeck quickstart`: trains, prints two tables and writes a page."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from limbeck.cli.terminal import waiting
from limbeck.files import write_text
from limbeck.report.formats import rich_table
from limbeck.report.study import differences, overview, study_report
from limbeck.report.writing import write_report
from limbeck.studies import quickstart as study


def quickstart(out: Path, seed: int, console: Console) -> None:
    """Runs it, prints what each contender reached, and writes a report.

    Args:
        out: where the runs and `report.html` go; replaced if it is an earlier quickstart's.
        seed: of the first of five runs, the others count on from it.
        console: where the tables go.
    """
    with waiting(console, "training the teacher") as tell:
        found = study.quickstart(out, seed, tell, write_report)
    report = out / "report.html"
    page = study_report(
        found.contenders, title="limbeck quickstart", lead=found.lead, comparisons=found.comparisons
    )
    write_text(report, page)
    for table in (overview(found.contenders), differences(found.contenders, found.comparisons)):
        console.print(rich_table(table))
    console.print(f"The report, with curves: {report}")
    console.print(f'The student: limbeck.load("{found.student}")')
