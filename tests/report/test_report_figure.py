from __future__ import annotations

from limbeck.report.chart import Chart, HeatMap, Trace, data_table
from limbeck.report.figure import figure, looks

MATRIX = HeatMap(
    "Answers",
    ["cat", "<dog>"],
    ["cat", "<dog>"],
    [[3, 0], [1, 1200]],
    [[1.0, 0.0], [0.1, 0.9]],
    "true",
    "answer",
)


def test_a_heat_map_is_drawn_from_its_shades_and_says_its_values() -> None:
    drawn = figure(MATRIX, {})
    (cells,) = drawn["data"]
    assert cells["z"] == [[1.0, 0.0], [0.1, 0.9]]
    assert cells["customdata"] == [[3, 0], [1, 1200]]
    assert cells["text"] == [["3", ""], ["1", "1,200"]]
    assert cells["y"] == ["cat", "&lt;dog&gt;"]
    assert (cells["zmin"], cells["zmax"]) == (-1, 1)
    assert drawn["layout"]["yaxis"]["autorange"] == "reversed"


def test_many_columns_have_no_room_for_texts() -> None:
    names = [str(number) for number in range(11)]
    values = [[1] * 11 for _ in names]
    wide = HeatMap("Answers", names, names, values, values, "true", "answer")
    assert "text" not in figure(wide, {})["data"][0]


def test_the_table_of_a_heat_map() -> None:
    table = data_table(MATRIX)
    assert table.columns == ["true \\ answer", "cat", "<dog>"]
    assert table.rows == [["cat", 3, 0], ["<dog>", 1, 1200]]


def test_a_horizontal_chart_runs_down_the_page() -> None:
    traces = [
        Trace("a", ["9", "0"], [4.0, 5.0], [3.0, 4.5], [6.0, 5.5], "points"),
        Trace("b", ["9"], [7.0], kind="points"),
    ]
    chart = Chart("Differences", traces, "run", "points", horizontal=True)
    drawn = figure(chart, looks([chart]))
    first, second = drawn["data"]
    assert (first["x"], first["y"]) == ([4.0, 5.0], ["9", "0"])
    assert first["error_x"] == {"array": [2.0, 0.5], "arrayminus": [1.0, 0.5]}
    assert "error_y" not in first
    assert second["x"] == [7.0]
    # the rows' names stand at their places, which a "9" as a place would not be
    named = [(note["y"], note["text"]) for note in drawn["layout"]["annotations"]]
    assert named == [(0, "9"), (1, "0")]
    assert drawn["layout"]["xaxis"]["title"]["text"] == "points"
    assert (chart.rows, chart.legend) == (2, True)


def test_series_that_name_their_rows_need_no_legend() -> None:
    traces = [Trace(name, [name], [1.0], kind="points") for name in "ab"]
    assert not Chart("Differences", traces, "run", "points", horizontal=True).legend
    assert Chart("Differences", traces, "run", "points").legend
    assert not Chart("Differences", traces[:1], "run", "points").legend


def test_a_guide_is_quiet_and_takes_no_color_from_the_series() -> None:
    guide = Trace("perfect", [0.0, 1.0], [0.0, 1.0], kind="guide")
    chart = Chart("Reliability", [guide, Trace("student", [0.5], [0.4])], "confidence", "accuracy")
    chosen = looks([chart])
    assert (chosen["perfect"].color, chosen["student"].color) == (0, 1)
    line, _ = figure(chart, chosen)["data"]
    assert (line["hoverinfo"], line["mode"], line["meta"]["color"]) == ("skip", "lines", 0)


def test_a_line_of_few_values_shows_them() -> None:
    few, many = Trace("few", range(6), [0.0] * 6), Trace("many", range(40), [0.0] * 40)
    chart = Chart("Lines", [few, many], "x", "y", from_zero=True, log=False)
    drawn = figure(chart, looks([chart]))
    assert [trace["mode"] for trace in drawn["data"]] == ["lines+markers", "lines"]
    assert drawn["layout"]["yaxis"] == {"rangemode": "tozero"}


def test_a_cost_grows_by_factors() -> None:
    chart = Chart("Cost", [Trace("a", [1e6], [0.9], kind="points")], "parameters", "accuracy", log=True)
    assert figure(chart, looks([chart]))["layout"]["xaxis"]["type"] == "log"


def test_quotes_stay_as_they_are() -> None:
    chart = Chart("t", [Trace('mgd(scheme="stable")', [1], [1.0])], "x", "y")
    assert figure(chart, looks([chart]))["data"][0]["name"] == 'mgd(scheme="stable")'


def test_the_points_of_a_cloud_are_small() -> None:
    few, many = (Trace("a", range(size), range(size), kind="points") for size in (60, 61))
    markers = [
        figure(chart, looks([chart]))["data"][0]["marker"]
        for chart in (Chart("t", [trace], "x", "y") for trace in (few, many))
    ]
    assert markers == [{"symbol": "circle"}, {"symbol": "circle", "size": 5, "opacity": 0.6}]
