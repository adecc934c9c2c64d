from __future__ import annotations

import pytest
from runs_for_reports import charts, contenders, data, figures, history, result, text_of

from limbeck.report.study import differences, overview, study_report
from limbeck.studies.contender import Contender

PAIR = [("student distilled", "student alone")]


def test_overview_by_value() -> None:
    table = overview(contenders())
    # alone: 77 ... 81 %, sd sqrt(2.5); distilled: 84, 86, 88, 87, 89 %, sd sqrt(3.7)
    assert table.rows == [
        ["teacher", 26000, "99.6 ± 0.0", None, None, 5],
        ["student alone", 650, "79.0 ± 1.6", "79.0", 0.0123, 5],
        ["student distilled", 650, "86.8 ± 1.9", "86.8", 0.0123, 5],
    ]


def test_one_seed_has_no_spread() -> None:
    assert [row[2] for row in overview(contenders(1)).rows] == ["99.6", "77.0", "84.0"]


def test_difference_by_value() -> None:
    # 7, 8, 9, 7, 8: mean 7.8, sd sqrt(0.7), t(0.975, 4) = 2.776: 7.8 +- 1.04
    assert differences(contenders(), PAIR).rows == [
        ["student distilled minus student alone", "+7.8", "+6.8 to +8.8", 5, "higher"]
    ]
    (row,) = differences(contenders(), [PAIR[0][::-1]]).rows
    assert row[1:] == ["-7.8", "-8.8 to -6.8", 5, "lower"]


@pytest.mark.parametrize(("seeds", "interval"), [(1, None), (2, "+1.1 to +13.9"), (4, "+6.2 to +9.3")])
def test_no_verdict_from_few_pairs(seeds: int, interval: str | None) -> None:
    (row,) = differences(contenders(seeds), PAIR).rows
    assert row[2:] == [interval, seeds, "no verdict from fewer than 5 pairs"]


def test_seeds_are_paired_by_number_not_by_place() -> None:
    first = Contender("a", [result(0, 0.5), result(1, 0.9)], [[], []])
    second = Contender("b", [result(1, 0.8), result(0, 0.4)], [[], []])
    (row,) = differences([first, second], [("a", "b")]).rows
    assert row[1:3] == ["+10.0", "+10.0 to +10.0"]


def study(seeds: int = 5) -> str:
    return study_report(contenders(seeds), title="Digits", lead="What a teacher is worth.", comparisons=PAIR)


def test_the_page_shows_the_tables_and_the_settings() -> None:
    text = text_of(study())
    assert "student alone 650 79.0 ± 1.6 79.0 0.0123 5" in text
    assert "student distilled minus student alone +7.8 +6.8 to +8.8 5 higher" in text
    assert "teacher cnn(channels=[4, 8]) 0.1*ce + 0.9*kd(temperature=4) digits(labeled=100)" in text
    assert "0, 1, 2, 3, 4 12.3 s" in text


def test_bands_run_from_the_lowest_to_the_highest_seed() -> None:
    html = study()
    terms = ["Term total", "Term ce", "Term kd"]
    assert charts(html) == ["Every seed", "Top-1 on the validation split", *terms]
    points, curves, *_ = figures(html)
    assert points["data"][1]["x"] == ["0", "1", "2", "3", "4"]
    assert points["data"][1]["y"] == pytest.approx([77, 78, 79, 80, 81])
    alone, line = curves["data"][2:4]
    last = [100 * history(0.77 + seed / 100)[-1]["validation"]["top1"] for seed in range(5)]
    assert line["y"][-1] == pytest.approx(sum(last) / 5)
    assert line["customdata"][-1] == pytest.approx([min(last), max(last)])
    assert alone["y"][39:41] == pytest.approx([max(last), min(last)])


def test_a_series_has_one_color_on_the_page() -> None:
    points, curves, *_ = figures(study())
    colors = {trace["name"]: trace["meta"]["color"] for trace in points["data"]}
    assert {trace["name"]: trace["meta"]["color"] for trace in curves["data"]} == colors
    assert len(set(colors.values())) == 3


def test_a_curve_ends_where_the_shortest_seed_does() -> None:
    contender = Contender("a", [result(0), result(1)], [history(epochs=5), history(epochs=3)])
    _, line = figures(study_report([contender], title="t", lead="l"))[1]["data"]
    steps = [entry["step"] for entry in history(epochs=3)]
    assert line["x"] == steps


def test_one_seed_has_a_line_without_a_band() -> None:
    assert len(figures(study(1))[1]["data"]) == 3


def test_without_validation_there_are_no_curves() -> None:
    contender = Contender("a", [result(0)], [[]])
    assert charts(study_report([contender], title="t", lead="l")) == ["Every seed"]


def test_facts_that_differ_are_left_to_the_table_of_how_each_was_trained() -> None:
    other = data(name="digits", labeled=1077)
    text = text_of(
        study_report(
            [Contender("a", [result(0)], [[]]), Contender("b", [result(0, data=other)], [[]])],
            title="t",
            lead="l",
        )
    )
    assert "10 classes" not in text
    assert "digits(labeled=100)" in text
    assert "Network kept last epoch" in text
