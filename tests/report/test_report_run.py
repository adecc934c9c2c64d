from __future__ import annotations

import re
from pathlib import Path

from evaluations_for_reports import evaluation
from runs_for_reports import alone, charts, data, figures, history, result, teacher, text_of

from limbeck.report.page import Gallery, Sample
from limbeck.report.run import data_facts, run_report
from limbeck.runs.result import Metrics, StudentResult, ViewsResult


def test_the_lead_says_what_came_out() -> None:
    text = text_of(run_report(result(), history()))
    assert "On the test split the student has a top-1 of 85.0 % with 650 parameters; " in text
    assert "; its teacher has 99.6 % with 26,000. " in text
    assert "They decide 90.0 % of the samples alike." in text


def test_student_and_teacher_stand_side_by_side() -> None:
    text = text_of(run_report(result(), history()))
    assert "\N{EN DASH} 26,000 100.0 cnn(channels=[32, 64])" in text
    assert "student 85.00 98.00 0.500 4.00 650 2.5 cnn(channels=[4, 8])" in text


def test_metrics_of_each_split() -> None:
    text = text_of(run_report(result(), history()))
    assert "split labels top-1 (%) top-5 (%) NLL ECE (%) test 360 85.00 98.00 0.500 4.00" in text
    assert "validation 360 90.00 99.00 0.400 3.00" in text
    assert "Lower is better: NLL, ECE." in text
    assert "flatters" not in text
    chosen = text_of(run_report(result(selection="validation"), history()))
    assert "best epoch on the validation split" in chosen
    assert "flatters its own figures" in chosen


def test_the_interval_is_that_of_the_evaluation() -> None:
    text = text_of(run_report(result(), history(), evaluation=evaluation()))
    assert "test 360 85.00 98.00 0.500 4.00 81.4 to 91.4" in text
    assert "validation 360 90.00 99.00 0.400 3.00 \N{EN DASH}" in text
    assert "95 % interval" not in text_of(run_report(result(), history()))


def test_the_evaluation_has_the_metrics_of_all_networks() -> None:
    text = text_of(run_report(result(), history(), evaluation=evaluation()))
    # 351, 311 and 261 of 360 right
    assert "teacher 97.50 0.500 4.00 26,000 100.0 cnn(channels=[32, 64])" in text
    assert "student 86.39 0.500 4.00 650 2.5 cnn(channels=[4, 8])" in text
    assert "baseline 72.50 0.500 4.00 650 2.5 cnn(channels=[4, 8])" in text


def test_the_student_alone_stands_beside_the_distilled_one(tmp_path: Path) -> None:
    found = result(steps=360, baseline=alone())
    text = text_of(run_report(found, history(), evaluation=evaluation()))
    assert "network objective steps test top-1 (%) test NLL test ECE (%)" in text, "what both have"
    assert "student alone ce 360 77.00 0.750 2.00" in text
    assert "student distilled 0.1*ce + 0.9*kd(temperature=4) 360 85.00 0.500 4.00" in text
    assert "difference \N{EN DASH} \N{EN DASH} +8.00 -0.250 +2.00" in text
    assert "The difference is +8.00 points of top-1 on the test split, from 1 seed, which gives no" in text
    assert "student alone 72.50 0.500 4.00 650 2.5 cnn(channels=[4, 8])" in text
    several = text_of(run_report(result(baseline=alone(3)), history()))
    assert "mean over 3 seeds, 95 % interval +5.50 to +10.50: no verdict from so few." in several
    assert "The table is of seed 0; the interval covers other seeds, not other samples." in several
    home = tmp_path / "student"
    link = '<a href="../student-alone/report.html">student alone</a>'
    assert link not in run_report(found, history(), home=home)
    for path in (home, tmp_path / "student-alone"):
        path.mkdir()
    (tmp_path / "student-alone" / "report.html").touch()
    assert link in run_report(found, history(), home=home)


def test_why_there_is_no_student_alone_is_said() -> None:
    why = "No student is trained alone to compare with: no training sample has a label."
    assert why in text_of(run_report(result(baseline=why), history()))


def test_several_teachers_have_a_row_each() -> None:
    both = {"big": teacher(0.9), "small": teacher(0.8, parameters=13000)}
    text = text_of(run_report(result(teachers=both), history()))
    assert re.search(r"big 90\.00 \S* ?\S* ?\S* ?26,000 100\.0 cnn\(channels=\[32, 64\]\)", text)
    assert re.search(r"small 80\.00 \S* ?\S* ?\S* ?13,000 50\.0 cnn\(channels=\[32, 64\]\)", text)


def test_transfer_to_other_data_is_shown() -> None:
    rate = {"value": 0.8, "low": 0.765, "high": 0.835, "samples": 500}
    network = {"model": "cnn", "run": "runs/a", "lr": 0.05, "validation": {"0.05": rate}}
    found = {
        "mode": "probe",
        "task": {"name": "classification", "names": ["a", "b"]},
        "setup": {"epochs": 120, "seed": 3},
        "data": {"name": "stl10", "train": 4500},
        "networks": [
            {**network, "role": "student", "test": rate},
            {**network, "role": "also", "run": "runs/b", "test": None},
        ],
    }
    text = text_of(run_report(result(), history(), transfers=[found]))
    assert "stl10: linear heads on the frozen embedding" in text
    assert "student cnn 0.05 80.0 76.5 to 83.5 runs/b cnn 0.05 \N{EN DASH} \N{EN DASH}" in text
    assert "120 epochs on 4,500 labeled samples, seed 3." in text
    assert "Transfer" not in text_of(run_report(result(), history()))
    older = {"mode": "probe", "data": {"name": "stl10", "train": 4500}, "networks": []}
    text = text_of(run_report(result(), history(), transfers=[older]))
    assert "What an earlier version measured on stl10 is not shown" in text


def test_facts() -> None:
    text = text_of(run_report(result(), history()))
    assert "Objective 0.1*ce + 0.9*kd(temperature=4)" in text
    assert "digits(labeled=100), 10 classes" in text
    assert "1,077 train (100 labeled), 360 validation, 360 test" in text
    assert "Network kept last epoch Seed 0 Time 12.3 s" in text


def test_curves_of_every_stage_in_order() -> None:
    html = run_report(result(), history(epochs=3, phases=("mgd.low",)))
    assert charts(html) == [
        "Validation: top-1",
        "Validation: NLL",
        "Terms of the phase mgd.low",
        "Terms of the objective",
    ]
    drawn = figures(html)
    accuracy = [100 * line["validation"]["top1"] for line in history(epochs=3)]
    assert drawn[0]["data"][0]["y"] == accuracy
    assert [trace["name"] for trace in drawn[3]["data"]] == ["total", "ce", "kd"]
    assert drawn[3]["data"][1]["y"] == [line["terms"]["ce"] for line in history(epochs=3)]


def test_a_term_that_comes_later_begins_later() -> None:
    lines = history(epochs=3)
    del lines[0]["terms"]["kd"]
    drawn = figures(run_report(result(), lines))
    assert [trace["x"] for trace in drawn[2]["data"]] == [[1, 2, 3], [1, 2, 3], [2, 3]]


def test_without_a_teacher_and_without_a_test_split() -> None:
    alone = result(
        teachers={},
        agreement=None,
        metrics=Metrics(test=None, validation=None),
        student=StudentResult(model="<Net>", parameters=650),
    )
    html = run_report(alone, history(epochs=2))
    text = text_of(html)
    assert "The student has 650 parameters. How good it is, is not known" in text
    assert "teacher" not in text.lower()
    assert "The student on each split" not in text
    assert "&lt;Net&gt;" in html


def test_without_a_history_there_are_no_curves() -> None:
    html = run_report(result(), [])
    assert charts(html) == []
    assert "Learning curves" not in html


def test_lines_that_could_not_be_read_are_told() -> None:
    assert "could not be read" not in text_of(run_report(result(), history()))
    assert "1 line of the history could not be read" in text_of(run_report(result(), history(), skipped=1))
    assert "3 lines of the history could not be read" in text_of(run_report(result(), history(), skipped=3))


def test_the_views_drawn_among_are_said() -> None:
    found = result(data=data(views=ViewsResult(policy="crop(padding=4, flip=true)", count=162, drawn=4)))
    assert "Views 4 of 162 of crop(padding=4, flip=true)" in text_of(run_report(found, history()))
    assert "Views" not in text_of(run_report(result(), history()))


def test_the_evaluation_and_what_it_takes_to_repeat_the_run_are_on_the_page() -> None:
    found = evaluation().model_copy(update={"notes": ("No noise: the inputs are text.",)})
    gallery = Gallery([Sample({"target": "yes", "student": "no"}, text="Is my <card> lost?")])
    html = run_report(
        result(choices={"precision": "bf16"}),
        history(),
        evaluation=found,
        examples=gallery,
        settings={"training": {"epochs": 40, "optimizer": {"lr": 0.05}}, "teacher": None},
        environment={"packages": {"torch": "2.13"}},
    )
    text = text_of(html)
    assert "Top-1 86.4 %" in text
    assert "Measured full suite on cpu" in text
    assert "Is my <card> lost?" in text
    assert "Is my <card> lost?" not in html
    assert "No noise: the inputs are text." in text
    assert "training.optimizer.lr 0.05" in text
    assert "packages.torch 2.13" in text
    assert "precision bf16" in text
    assert charts(html)[:3] == ["Top-1 against cost", "Stages compared", "Mean of all kinds"]


def test_how_many_views_were_drawn_among_is_told() -> None:
    found = result(data=data(views=ViewsResult(policy="crop(padding=4, flip=true)", count=162, drawn=4)))
    assert data_facts(found)["Views"] == "4 of 162 of crop(padding=4, flip=true)"
    assert "Views" not in data_facts(result())
