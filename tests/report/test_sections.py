from __future__ import annotations

import math

import pytest

from limbeck.report.chart import Chart, HeatMap, data_table
from limbeck.report.figure import figure, looks
from limbeck.report.page import page
from limbeck.report.sections import drawn
from limbeck.report.table import Table, aligned
from limbeck.tasks import sections as plain


def only(figure: plain.Figure) -> Chart | HeatMap | Table:
    (section,) = drawn([plain.Section("Title", figures=[figure])])
    (block,) = section.body
    assert isinstance(block, (Chart, HeatMap, Table))
    return block


def test_a_section_is_its_text_and_its_figures() -> None:
    tables = [plain.Table(["a"], [["1"]]), plain.Table(["b"], [["2"]], title="Second", notes="Why.")]
    with_text, bare = drawn([plain.Section("One", "It says.", tables), plain.Section("Two")])
    assert (with_text.heading, with_text.body[0]) == ("One", "It says.")
    first, second = with_text.body[1:]
    assert isinstance(first, Table)
    assert isinstance(second, Table)
    assert (first.caption, first.rows) == ("One", [["1"]])
    assert (second.caption, second.notes) == ("Second", "Why.")
    assert list(bare.body) == []


def test_an_empty_cell_leaves_a_column_of_figures_one() -> None:
    table = only(plain.Table(["name", "value"], [["a", "1.5"], ["b", None]]))
    assert isinstance(table, Table)
    assert aligned(table) == ["text", "number"]


def test_lines_with_a_diagonal_over_the_range() -> None:
    lines = [plain.Line("student", [(1, 2), (3, 4)], "student"), plain.Line("cow", [(0, 5)], "student")]
    chart = only(plain.Lines("T", "x", "y", lines, diagonal=True, x_range=(0, 9), y_range=(0, 10)))
    assert isinstance(chart, Chart)
    student, cow, diagonal = chart.traces
    assert (list(student.x), list(student.y), student.kind) == ([1, 3], [2, 4], "line")
    assert (list(diagonal.x), list(diagonal.y), diagonal.kind) == ([0, 9], [0, 9], "guide")
    layout = figure(chart, looks([chart]))["layout"]
    assert (layout["xaxis"]["range"], layout["yaxis"]["range"]) == ([0, 9], [0, 10])
    colors = {name: look.color for name, look in looks([chart]).items()}
    assert colors["cow"] == colors["student"]
    assert looks([chart])["cow"] != looks([chart])["student"]
    assert cow.like == "student"


def test_a_diagonal_without_a_range_spans_the_points() -> None:
    cloud = plain.Lines("T", "x", "y", [plain.Line("a", [(2, 7), (-1, 0)])], kind="points", diagonal=True)
    chart = only(cloud)
    assert isinstance(chart, Chart)
    points, diagonal = chart.traces
    assert points.kind == "points"
    assert list(diagonal.x) == [-1, 2]


@pytest.mark.parametrize("kind", ["bars", "points"])
def test_bars_run_down_the_page_and_a_missing_one_is_left_out(kind: str) -> None:
    bars = plain.Bars(
        "T",
        "share (%)",
        ["ant", "bee"],
        {"a": [1.0, math.nan]},
        {"a": [(0.5, 2.0), (0, 0)]},
        kind=kind,  # type: ignore[arg-type]
    )
    chart = only(bars)
    assert isinstance(chart, Chart)
    (trace,) = figure(chart, looks([chart]))["data"]
    assert (trace["x"], trace["y"]) == ([1.0, None], ["ant", "bee"])
    assert trace["error_x"]["array"] == [1.0, None]
    assert (trace["type"], trace.get("orientation")) == (
        ("bar", "h") if kind == "bars" else ("scatter", None)
    )
    assert data_table(chart).rows[1][:2] == ["bee", None]


def test_shades_of_a_heatmap_are_shares_of_the_largest_value() -> None:
    plainly = only(plain.Heatmap("T", "x", "y", ["a", "b"], [[4, -2], [0, 1]]))
    diverging = only(plain.Heatmap("T", "x", "y", ["a", "b"], [[4, -2], [0, 1]], diverging=True))
    given = only(plain.Heatmap("T", "x", "y", ["a"], [[4]], shades=[[0.5]]))
    assert isinstance(plainly, HeatMap)
    assert isinstance(diverging, HeatMap)
    assert isinstance(given, HeatMap)
    assert plainly.shades == [[1, 0], [0, 0.25]]
    assert diverging.shades == [[1, -0.5], [0, 0.25]]
    assert given.shades == [[0.5]]
    assert (plainly.row_label, plainly.column_label) == ("y", "x")
    empty = only(plain.Heatmap("T", "x", "y", ["a"], [[0]]))
    assert isinstance(empty, HeatMap)
    assert empty.shades == [[0]]


def test_a_page_of_every_figure() -> None:
    figures: list[plain.Figure] = [
        plain.Lines("Curve", "x", "y", [plain.Line("<a>", [(0, 1)])]),
        plain.Bars("Shares", "x", ["a"], {"<a>": [1.0]}, notes="Notes of <bars>."),
        plain.Heatmap("Matrix", "x", "y", ["a"], [[1]]),
        plain.Table(["name"], [["<b>"]]),
    ]
    html = page("T", "Lead.", drawn([plain.Section("S", "Text.", figures)]), {})
    for text in ("Curve", "Shares", "Matrix", "Notes of &lt;bars&gt;.", "&lt;b&gt;"):
        assert text in html
    assert "<b>" not in html
