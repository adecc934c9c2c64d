from __future__ import annotations

import pytest
from evaluations_for_reports import evaluation
from runs_for_reports import charts, contenders, figures, result, teacher, text_of

from limbeck.errors import LimbeckError
from limbeck.report import Contender
from limbeck.report.comparison import comparison_table, records
from limbeck.report.comparison_page import comparison_report

ALONE = "student alone"


def test_a_row_for_each_contender_with_its_difference() -> None:
    table = comparison_table(contenders(), ALONE, ["top1"])
    # distilled minus alone: 7, 8, 9, 7, 8 points, mean 7.8, sd sqrt(0.7), t(0.975, 4) = 2.776
    assert table.columns[3:] == ["top-1 accuracy (%)", "difference", "verdict"]
    assert table.rows[1] == [ALONE, 650, 5, "79.00 ± 1.58", None, "baseline"]
    assert table.rows[2] == ["student distilled", 650, 5, "86.80 ± 1.92", "+7.80 (+6.76 to +8.84)", "higher"]


def test_without_a_baseline_there_are_no_differences() -> None:
    table = comparison_table(contenders(), None, ["top1", "nll"])
    assert table.columns[3:] == ["top-1 accuracy (%)", "negative log-likelihood (nats)"]
    assert table.rows[1] == [ALONE, 650, 5, "79.00 ± 1.58", "0.500 ± 0.000"]
    assert "Differences" not in table.notes


@pytest.mark.parametrize(("seeds", "verdict"), [(1, "none from 1 of 5 pairs"), (4, "none from 4 of 5 pairs")])
def test_no_verdict_below_five_pairs(seeds: int, verdict: str) -> None:
    assert comparison_table(contenders(seeds), ALONE, ["top1"]).rows[2][5] == verdict
    assert records(contenders(seeds), ALONE, ["top1"])[2]["verdict"] is None


def test_what_shares_no_seed_or_lacks_the_metric_has_a_dash() -> None:
    one = Contender("a", [result(0, 0.5, agreement=None)], [[]])
    other = Contender("b", [result(1, 0.9, agreement=0.8)], [[]])
    assert comparison_table([one, other], "a", ["top1"]).rows[1][3:] == ["90.00", None, None]
    assert comparison_table([one, other], "a", ["agreement"]).rows[0][3:] == [None, None, "baseline"]


def test_records_are_not_rounded() -> None:
    record = records(contenders(), ALONE, ["top1"])[2]
    assert record["mean"] == pytest.approx(86.8)
    assert record["sd"] == pytest.approx(3.7**0.5)
    assert record["difference"] == pytest.approx(7.8)
    assert record["low"] == pytest.approx(6.761, abs=1e-3)
    assert record["high"] == pytest.approx(8.839, abs=1e-3)
    assert (record["n"], record["pairs"], record["seeds"]) == (5, 5, "0 1 2 3 4")
    first = records(contenders(), ALONE, ["top1"])[1]
    assert first["difference"] is first["baseline"] is None


def test_unknown_metrics_are_refused() -> None:
    with pytest.raises(LimbeckError, match="unknown metric 'accuracy'"):
        comparison_table(contenders(), None, ["accuracy"])


def test_the_page_leads_with_the_best_and_its_difference() -> None:
    text = text_of(comparison_report(contenders()[1:], ALONE, ["top1"], ["A note."]))
    assert "2 ways to train cnn(channels=[4, 8])" in text
    assert "The most accurate of 2 is student distilled: right on 86.80 % of the test samples" in text
    assert "That is +7.80 points against student alone, with a 95 % interval of +6.76 to +8.84." in text
    assert "A note." in text
    few = text_of(comparison_report(contenders(2)[1:], ALONE, ["top1"]))
    assert "without a verdict: 2 of the 5 pairs of seeds that it takes." in few


def test_the_page_draws_seeds_differences_cost_and_curves() -> None:
    html = comparison_report(contenders()[1:], ALONE, ["top1", "nll"])
    assert charts(html) == [
        "Every seed",
        "Top-1 accuracy minus student alone",
        "Negative log-likelihood minus student alone",
        "Accuracy against cost",
        "Accuracy on the validation split",
        "Term total",
        "Term ce",
        "Term kd",
    ]
    drawn = figures(html)
    (difference,) = drawn[1]["data"]
    assert difference["x"] == [pytest.approx(7.8)]
    assert difference["error_x"]["array"] == [pytest.approx(1.039, abs=1e-3)]
    cost = {trace["name"]: trace for trace in drawn[3]["data"]}
    assert (cost["student alone"]["x"], cost["teacher"]["x"]) == ([650], [26000])
    assert cost["Pareto front"]["y"] == pytest.approx([86.8, 99.6])


def test_cost_is_multiply_adds_where_all_were_evaluated() -> None:
    made = [Contender(name, [result()], [[]], evaluations=[evaluation()]) for name in "ab"]
    drawn = figures(comparison_report(made, None, ["top1"]))[1]
    assert drawn["layout"]["xaxis"]["title"]["text"] == "multiply-adds a sample"
    assert [trace["x"] for trace in drawn["data"]][:3] == [[13000], [13000], [520000]]
    mixed = [made[0], Contender("b", [result()], [[]])]
    drawn = figures(comparison_report(mixed, None, ["top1"]))[1]
    assert drawn["layout"]["xaxis"]["title"]["text"] == "parameters"


def test_teachers_made_alike_are_one_point_with_their_spread() -> None:
    alike = [
        teacher(0.98 + seed / 100, model=f"runs/t-{seed}", recipe="r", weights=str(seed)) for seed in range(2)
    ]
    runs = [result(seed, teachers={"teacher": each}) for seed, each in enumerate(alike)]
    made = [Contender(name, runs, [[], []]) for name in "ab"]
    drawn = figures(comparison_report(made, None, ["top1"]))[1]["data"][2]
    assert (drawn["name"], drawn["y"]) == ("teacher", [98.5])
    assert drawn["error_y"]["array"] == [pytest.approx(0.5**0.5)]
