from __future__ import annotations

from collections.abc import Sequence

import pytest
from evaluations_for_reports import evaluation
from runs_for_reports import charts, comparison, contenders, figures, history, result, teacher, text_of

from limbeck.errors import LimbeckError
from limbeck.report.comparison import comparison_table, records, training_table
from limbeck.report.comparison_page import comparison_report
from limbeck.studies.compare import Comparison
from limbeck.studies.contender import Contender
from limbeck.studies.measures import Measure, measures
from limbeck.tasks import Classification

ALONE = "student alone"
TASK = Classification(tuple(map(str, range(10))))


def by(*names: str) -> list[Measure]:
    return measures(names, TASK)


def unequal(**changes: bool) -> Comparison:
    """Students of five seeds: ce took 60 steps and reaches 70, 71, ... %, kd 480 and 8 points more."""
    members = [
        Contender(
            name,
            [
                result(
                    seed, 0.7 + seed / 100 + gain, steps=steps, samples_seen=64 * steps, teacher_forwards=9
                )
                for seed in range(5)
            ],
            [[]] * 5,
        )
        for name, gain, steps in (("ce", 0.0, 60), ("kd", 0.08 + 1e-9, 480))
    ]
    return comparison("ce", members, **changes)


def test_a_row_for_each_contender_with_its_difference() -> None:
    table = comparison_table(comparison(ALONE), by("top1"))
    # distilled minus alone: 7, 8, 9, 7, 8 points, mean 7.8, sd sqrt(0.7), t(0.975, 4) = 2.776
    assert table.columns[1:] == ["test top-1 (%)", "difference", "verdict", "seeds", "parameters"]
    assert table.rows[1] == [ALONE, "79.00 ± 1.58", None, "baseline", 5, 650]
    assert table.rows[2] == ["student distilled", "86.80 ± 1.92", "+7.80 (+6.76 to +8.84)", "better", 5, 650]
    assert "choose by validation, validation.top1." in table.notes
    assert "unequal" not in table.notes


def test_without_a_baseline_there_are_no_differences() -> None:
    table = comparison_table(comparison(), by("top1", "nll"))
    assert table.columns[1:] == ["test top-1 (%)", "test NLL", "seeds", "parameters"]
    assert table.rows[1] == [ALONE, "79.00 ± 1.58", "0.500 ± 0.000", 5, 650]
    assert "Differences" not in table.notes


def test_by_validation_the_page_says_that_it_is_for_choosing() -> None:
    table = comparison_table(comparison(ALONE), by("validation.top1"))
    assert table.columns[1] == "validation top-1 (%)"
    assert table.rows[2][1:4] == ["90.00 ± 0.00", "+0.00 (+0.00 to +0.00)", "undecided"]
    assert "The validation split is for choosing" in table.notes
    assert "The test split is for the report" not in table.notes


def test_where_less_is_better_a_lower_value_is() -> None:
    def members(better: float) -> Sequence[Contender]:
        changes = [(name, nll) for name, nll in (("a", 0.5), ("b", better))]
        return [
            Contender(
                name,
                [
                    result(seed).model_copy(
                        update={
                            "metrics": result().metrics.model_copy(update={"test": {"nll": nll + seed / 1e3}})
                        }
                    )
                    for seed in range(5)
                ],
                [[]] * 5,
            )
            for name, nll in changes
        ]

    def verdict(better: float) -> object:
        return comparison_table(comparison("a", members(better)), by("nll")).rows[1][3]

    assert (verdict(0.4), verdict(0.6)) == ("better", "worse")
    found = comparison("a", members(0.4))
    assert records(found, by("nll"))[1]["verdict"] == "better"
    assert "Lower is better: NLL." in comparison_table(found, by("nll")).notes


@pytest.mark.parametrize(("seeds", "verdict"), [(1, "too few seeds: 1 of 5"), (4, "too few seeds: 4 of 5")])
def test_no_verdict_below_five_pairs(seeds: int, verdict: str) -> None:
    found = comparison(ALONE, contenders(seeds))
    assert comparison_table(found, by("top1")).rows[2][3] == verdict
    assert records(found, by("top1"))[2]["verdict"] is None


def test_unequal_steps_give_no_verdict_unless_it_is_wanted() -> None:
    table = comparison_table(unequal(), by("top1"))
    assert table.rows[1][1:4] == ["80.00 ± 1.58", "+8.00 (+8.00 to +8.00)", "none: unequal steps"]
    assert table.notes.endswith(
        "Optimizer steps are unequal (ce 60; kd 480), so there is no verdict on them; "
        "unequal=True (--unequal) gives one."
    )
    assert records(unequal(), by("top1"))[1]["verdict"] is None
    wanted = comparison_table(unequal(unequal=True), by("top1"))
    assert wanted.rows[1][3] == "better"
    assert "so a difference may be one of the length of training alone." in wanted.notes
    assert records(unequal(unequal=True), by("top1"))[1]["verdict"] == "better"
    page = text_of(comparison_report(unequal(), by("top1")))
    assert "That is +8.00 points against ce. Optimizer steps are unequal (ce 60; kd 480)" in page
    assert "95 % interval of" not in page


def test_what_each_learned_from() -> None:
    first, second = training_table(unequal()).rows
    assert first == ["ce", 60, 3840, 9]
    assert second == ["kd", 480, 30720, 9]
    alone = Contender("alone", [result(teachers={})], [history(epochs=4)])
    (row,) = training_table(comparison(None, [alone])).rows
    assert row == ["alone", 36, "not recorded", 0]
    taught = Contender("taught", [result()], [[]])
    (row,) = training_table(comparison(None, [taught])).rows
    assert row == ["taught", *["not recorded"] * 3]
    record = records(unequal(), by("top1"))[1]
    assert (record["steps"], record["samples_seen"], record["teacher_forwards"]) == (480, 30720, 9)


def test_what_shares_no_seed_or_lacks_the_metric_has_a_dash() -> None:
    one = Contender("a", [result(0, 0.5, agreement=None)], [[]])
    other = Contender("b", [result(1, 0.9, agreement=0.8)], [[]])
    found = comparison("a", [one, other])
    assert comparison_table(found, by("top1")).rows[1][1:4] == ["90.00", None, None]
    assert comparison_table(found, by("agreement")).rows[0][1:4] == [None, None, "baseline"]


def test_records_are_not_rounded() -> None:
    record = records(comparison(ALONE), by("top1"))[2]
    assert record["mean"] == pytest.approx(86.8)
    assert record["sd"] == pytest.approx(3.7**0.5)
    assert record["difference"] == pytest.approx(7.8)
    assert record["low"] == pytest.approx(6.761, abs=1e-3)
    assert record["high"] == pytest.approx(8.839, abs=1e-3)
    assert (record["n"], record["pairs"], record["seeds"]) == (5, 5, "0 1 2 3 4")
    assert (record["metric"], record["split"]) == ("top1", "test")
    first = records(comparison(ALONE), by("validation.top1"))[1]
    assert first["difference"] is first["baseline"] is None
    assert first["split"] == "validation"


def test_a_measure_that_no_run_has_is_refused() -> None:
    bare = Contender(
        "a",
        [result().model_copy(update={"metrics": result().metrics.model_copy(update={"validation": None})})],
        [[]],
    )
    with pytest.raises(LimbeckError, match="none of the runs was measured by validation top-1"):
        comparison_table(comparison(None, [bare]), by("validation.top1"))


def test_the_page_leads_with_the_best_and_its_difference() -> None:
    text = text_of(comparison_report(comparison(ALONE, contenders()[1:], notes=("A note.",)), by("top1")))
    assert "2 ways to train cnn(channels=[4, 8])" in text
    assert "student distilled has the best test top-1 of 2: 86.80 %, the mean of 5 seeds." in text
    assert "That is +7.80 points against student alone, with a 95 % interval of +6.76 to +8.84." in text
    assert "A note." in text
    few = text_of(comparison_report(comparison(ALONE, contenders(2)[1:]), by("top1")))
    assert "There is no verdict yet: it needs 5 pairs of seeds, and there are 2." in few
    alone = text_of(comparison_report(comparison(None, contenders(1)[1:2]), by("top1")))
    assert "The test top-1 of student alone is: 77.00 %, from one seed." in alone


def test_the_page_draws_seeds_differences_cost_and_curves() -> None:
    html = comparison_report(comparison(ALONE, contenders()[1:]), by("top1", "nll"))
    assert charts(html) == [
        "Every seed",
        "Test top-1 minus student alone",
        "Test NLL minus student alone",
        "Top-1 against cost",
        "Top-1 on the validation split",
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


def test_on_validation_there_are_no_teachers_in_the_cost() -> None:
    made = [Contender(name, [result()], [[]]) for name in "ab"]
    drawn = figures(comparison_report(comparison(None, made), by("validation.top1")))
    assert [trace["name"] for trace in drawn[1]["data"]] == ["a", "b", "Pareto front"]
    assert drawn[1]["data"][0]["y"] == [90]


def test_cost_is_multiply_adds_where_all_were_evaluated() -> None:
    made = [Contender(name, [result()], [[]], evaluations=[evaluation()]) for name in "ab"]
    drawn = figures(comparison_report(comparison(None, made), by("top1")))[1]
    assert drawn["layout"]["xaxis"]["title"]["text"] == "multiply-adds a sample"
    assert [trace["x"] for trace in drawn["data"]][:3] == [[13000], [13000], [520000]]
    mixed = [made[0], Contender("b", [result()], [[]])]
    drawn = figures(comparison_report(comparison(None, mixed), by("top1")))[1]
    assert drawn["layout"]["xaxis"]["title"]["text"] == "parameters"


def test_teachers_made_alike_are_one_point_with_their_spread() -> None:
    alike = [
        teacher(0.98 + seed / 100, model=f"runs/t-{seed}", recipe="r", weights=str(seed)) for seed in range(2)
    ]
    runs = [result(seed, teachers={"teacher": each}) for seed, each in enumerate(alike)]
    made = [Contender(name, runs, [[], []]) for name in "ab"]
    drawn = figures(comparison_report(comparison(None, made), by("top1")))[1]["data"][2]
    assert (drawn["name"], drawn["y"]) == ("teacher", [98.5])
    assert drawn["error_y"]["array"] == [pytest.approx(0.5**0.5)]
