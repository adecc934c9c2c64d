from __future__ import annotations

import math

import pytest

from limbeck.report.chart import Chart, Trace, data_table
from limbeck.report.figure import figure, looks

BAND = Trace("student", [1, 2, 3], [0.5, 0.6, 0.7], low=[0.4, 0.5, 0.6], high=[0.6, 0.7, 0.9])


def chart(*traces: Trace) -> Chart:
    return Chart("Accuracy", traces, "epoch", "accuracy")


def test_a_line_lies_on_its_band() -> None:
    band, line = figure(chart(BAND), looks([chart(BAND)]))["data"]
    assert band["x"] == [1, 2, 3, 3, 2, 1]
    assert band["y"] == [0.6, 0.7, 0.9, 0.6, 0.5, 0.4]
    assert (band["fill"], band["hoverinfo"]) == ("toself", "skip")
    assert (line["x"], line["y"]) == ([1, 2, 3], [0.5, 0.6, 0.7])
    assert line["customdata"][2] == [0.6, 0.9]
    assert band["meta"] == line["meta"] == {"series": "student", "color": 1}


def test_points_and_bars_have_error_bars() -> None:
    for kind, drawn in (("points", "scatter"), ("bars", "bar")):
        trace = Trace("a", ["x", "y"], [2.0, 3.0], [1.0, 2.5], [4.0, 3.5], kind=kind)  # type: ignore[arg-type]
        (found,) = figure(chart(trace), looks([chart(trace)]))["data"]
        assert found["type"] == drawn
        assert found["error_y"] == {"array": [2.0, 0.5], "arrayminus": [1.0, 0.5]}


def test_what_is_not_finite_leaves_a_gap() -> None:
    trace = Trace("loss", [1, 2, 3], [2.0, math.nan, math.inf])
    (line,) = figure(chart(trace), looks([chart(trace)]))["data"]
    assert line["y"] == [2.0, None, None]


def test_a_single_value_is_a_point_because_a_line_of_one_is_invisible() -> None:
    trace = Trace("loss", [1], [2.0])
    assert figure(chart(trace), looks([chart(trace)]))["data"][0]["mode"] == "markers"


def test_texts_are_escaped_because_plotly_reads_tags() -> None:
    trace = Trace("<b>x</b>", ["<i>"], [1.0], kind="bars")
    shown = Chart("t", [trace], "a<b", "y")
    drawn = figure(shown, looks([shown]))
    (bar,) = drawn["data"]
    assert bar["name"] == "&lt;b&gt;x&lt;/b&gt;"
    assert bar["x"] == ["&lt;i&gt;"]
    assert bar["meta"]["series"] == "<b>x</b>"
    assert drawn["layout"]["xaxis"]["title"]["text"] == "a&lt;b"


@pytest.mark.parametrize(("x", "axis"), [([1, 4], {"dtick": 1}), ([1, 40], {}), ([0.1, 0.4], {})])
def test_few_epochs_are_not_divided(x: list[float], axis: dict[str, int]) -> None:
    trace = Trace("a", x, [0.0, 1.0])
    found = figure(chart(trace), looks([chart(trace)]))["layout"]["xaxis"]
    assert {key: value for key, value in found.items() if key != "title"} == axis


def test_a_series_looks_the_same_in_all_charts() -> None:
    def named(*names: str) -> Chart:
        return chart(*(Trace(name, [1], [1.0]) for name in names))

    chosen = looks([named("a", "b"), named("b", "c"), named("c", "a", "d")])
    assert [chosen[name].color for name in "abcd"] == [1, 2, 3, 4]
    # A seventh name takes a color again, but none of those in its own chart, and other dashes.
    chosen = looks([named(*"abcdef"), named("a", "g")])
    assert chosen["g"].color != chosen["a"].color
    assert len({look.dash for look in chosen.values() if look.color == chosen["g"].color}) == 2
    assert len(set(looks([named(*map(str, range(36)))]).values())) == 36


def test_table_of_lines_has_a_row_for_each_x() -> None:
    table = data_table(chart(BAND, Trace("teacher", [0, 2], [0.9, 0.95])))
    assert table.columns == ["epoch", "student", "student, low", "student, high", "teacher"]
    assert table.rows == [
        [0, None, None, None, 0.9],
        [1, 0.5, 0.4, 0.6, None],
        [2, 0.6, 0.5, 0.7, 0.95],
        [3, 0.7, 0.6, 0.9, None],
    ]


def test_table_keeps_the_order_of_categories() -> None:
    table = data_table(chart(Trace("a", ["10", "9"], [1.0, 2.0]), Trace("b", ["9", "8"], [3.0, 4.0])))
    assert table.rows == [["10", 1.0, None], ["9", 2.0, 3.0], ["8", None, 4.0]]


def test_table_of_points_that_share_an_x_has_a_row_for_each() -> None:
    shared = Trace("a", [1, 1], [5.0, 6.0], [4.0, 5.0], [7.0, 8.0], kind="points")
    table = data_table(chart(shared, Trace("b", [2], [9.0], kind="points")))
    assert table.columns == ["series", "epoch", "accuracy", "low", "high"]
    assert table.rows == [["a", 1, 5.0, 4.0, 7.0], ["a", 1, 6.0, 5.0, 8.0], ["b", 2, 9.0, None, None]]


def test_series_of_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="series 'a' needs"):
        Trace("a", [1, 2], [1.0])
    with pytest.raises(ValueError, match="series 'a' needs"):
        Trace("a", [1], [1.0], low=[0.5])
