from __future__ import annotations

from pathlib import Path

from runs_for_reports import history, result, teacher, text_of

from limbeck import tasks
from limbeck.report.chain import chain
from limbeck.report.run import run_report
from limbeck.report.table import Table
from limbeck.runs.result import Metrics, TeacherResult, TeacherRun

TASK = tasks.from_record(result().task)


def run_by(objective: str, top1: float, **changes: object) -> TeacherRun:
    return TeacherRun(
        model="cnn(channels=[8, 16])",
        objective=objective,
        data="digits(labeled=100)",
        metric="top1",
        metrics={"test": top1, "validation": top1 + 0.01},
    ).model_copy(update=changes)


def assistant(**changes: object) -> TeacherResult:
    """The middle of three, in runs/the middle."""
    big = teacher(model="runs/big", weights="b", run=run_by("ce", 0.972))
    made = run_by("0.1*ce + 0.9*kd", 0.948, teachers={"teacher": big}, places={"teacher": "../big"})
    return teacher(model="runs/the middle", weights="m", parameters=1922, run=made.model_copy(update=changes))


def of(taught: TeacherResult, places: dict[str, object], home: Path | None = None) -> tuple[str, Table]:
    line, table = chain(result(teachers={"teacher": taught}), TASK.primary, {"places": places}, home)
    assert isinstance(line, str)
    assert isinstance(table, Table)
    return line, table


PLACES: dict[str, object] = {
    "runs/the middle": {"relative": "../the middle", "absolute": "/x", "weights": "w"}
}


def test_a_chain_is_a_line_and_a_table(tmp_path: Path) -> None:
    line, table = of(assistant(), PLACES)
    arrow, space = "\N{RIGHTWARDS ARROW}", "\N{NO-BREAK SPACE}"
    assert line == f"big (97.2{space}%) {arrow} the middle (94.8{space}%) {arrow} student (85.0{space}%)."
    assert table.columns == ["network", "model", "parameters", "objective", "taught by", "test top-1 (%)"]
    assert [list(row) for row in table.rows] == [
        ["big", "cnn(channels=[8, 16])", 26000, "ce", None, "97.20"],
        ["the middle", "cnn(channels=[8, 16])", 1922, "0.1*ce + 0.9*kd", "big", "94.80"],
        ["student", "cnn(channels=[4, 8])", 650, "0.1*ce + 0.9*kd(temperature=4)", "the middle", "85.00"],
    ]
    assert table.links == {}, "no directory to look from"


def test_pages_that_are_there_are_linked_as_addresses(tmp_path: Path) -> None:
    home = tmp_path / "student"
    for name in ("big", "the middle"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.html").touch()
    home.mkdir()
    _, table = of(assistant(), PLACES, home)
    assert table.links == {"big": "../big/report.html", "the middle": "../the%20middle/report.html"}
    (tmp_path / "big" / "report.html").unlink()
    assert of(assistant(), PLACES, home)[1].links.keys() == {"the middle"}
    assert of(assistant(), {}, home)[1].links == {}, "where the first one of the chain lies is not known"
    page = run_report(
        result(teachers={"teacher": assistant()}), history(), environment={"places": PLACES}, home=home
    )
    assert '<th scope="row"><a href="../the%20middle/report.html">the middle</a></th>' in page
    assert '<th scope="row">big</th>' in page


def test_other_data_have_a_column(tmp_path: Path) -> None:
    _, table = of(assistant(data="mnist"), PLACES)
    assert table.columns[-2:] == ["data", "test top-1 (%)"]
    assert [row[-2] for row in table.rows] == ["digits(labeled=100)", "mnist", "digits(labeled=100)"]


def test_without_a_test_split_the_figures_are_of_validation() -> None:
    big = teacher(model="runs/big", weights="b", run=run_by("ce", 0.9, metrics={"validation": 0.91}))
    unmeasured = result(
        teachers={"teacher": big}, metrics=Metrics(test=None, validation={"top1": 0.8}), agreement=None
    )
    line, table = chain(unmeasured, TASK.primary)
    assert isinstance(line, str)
    assert "(91.0" in line
    assert isinstance(table, Table)
    assert table.columns[-1] == "validation top-1 (%)"


def test_a_teacher_that_is_no_run_makes_no_chain() -> None:
    assert chain(result(), TASK.primary) == []
    assert "Which runs it came from" not in text_of(run_report(result(), history()))
