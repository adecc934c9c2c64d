from __future__ import annotations

from evaluations_for_reports import evaluation
from runs_for_reports import charts, data, figures, history, result, text_of

from limbeck.report import run_report
from limbeck.report.page import Gallery, Sample
from limbeck.report.run import data_facts
from limbeck.report.table import duration
from limbeck.runs.result import Metrics, StudentResult, ViewsResult


def test_the_lead_says_what_came_out() -> None:
    text = text_of(run_report(result(), history()))
    assert "The student is right on 85.0 % of the test samples with 650 parameters; " in text
    assert "; its teacher is right on 99.6 % and has 26,000. " in text
    assert "They give the same answer for 90.0 % of the samples." in text


def test_student_and_teacher_stand_side_by_side() -> None:
    text = text_of(run_report(result(), history()))
    assert "teacher cnn(channels=[32, 64]) 26,000 100.0 99.6" in text
    assert "student cnn(channels=[4, 8]) 650 2.5 85.0" in text


def test_metrics_of_each_split_with_an_interval() -> None:
    text = text_of(run_report(result(), history()))
    # 306 of 360 right: Wilson's interval is 80.9 to 88.3 %
    assert "test 360 85.00 98.00 0.500 4.00 80.9 to 88.3" in text
    assert "flatters" not in text
    chosen = text_of(run_report(result(selection="validation"), history()))
    assert "best epoch on the validation split" in chosen
    assert "flatters its own figures" in chosen


def test_the_interval_is_over_the_labeled_samples() -> None:
    some = result(data=data(measured={"validation": 200, "test": 40}))
    # 34 of 40 right: Wilson's interval is 70.9 to 92.9 %
    assert "test 40 85.00 98.00 0.500 4.00 70.9 to 92.9" in text_of(run_report(some, history()))


def test_transfer_to_other_data_is_shown() -> None:
    rate = {"value": 0.8, "low": 0.765, "high": 0.835, "samples": 500}
    network = {"model": "cnn", "run": "runs/a", "lr": 0.05, "validation": {"0.05": rate}}
    found = {
        "mode": "probe",
        "setup": {"epochs": 120, "seed": 3},
        "data": {"name": "stl10", "train": 4500},
        "networks": [
            {**network, "role": "student", "test": rate},
            {**network, "role": "also", "run": "runs/b", "test": None},
        ],
    }
    text = text_of(run_report(result(), history(), transfers=[found]))
    assert "stl10: linear classifiers on the frozen embedding" in text
    assert "student cnn 0.05 80.0 76.5 to 83.5 runs/b cnn 0.05 \N{EN DASH} \N{EN DASH}" in text
    assert "120 epochs on 4,500 labeled samples, seed 3." in text
    assert "Transfer" not in text_of(run_report(result(), history()))


def test_facts() -> None:
    text = text_of(run_report(result(), history()))
    assert "Objective 0.1*ce + 0.9*kd(temperature=4)" in text
    assert "digits(labeled=100), 10 classes" in text
    assert "1,077 train (100 labeled), 360 validation, 360 test" in text
    assert "Network kept last epoch Seed 0 Time 12.3 s" in text


def test_curves_of_every_stage_in_order() -> None:
    html = run_report(result(), history(epochs=3, phases=("mgd.low",)))
    assert charts(html) == [
        "Validation: top-1 accuracy",
        "Validation: negative log-likelihood",
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
    assert "The student has 650 parameters. How accurate it is, is not known" in text
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


def test_duration() -> None:
    assert [duration(seconds) for seconds in (0.04, 119.94, 125.4, 7384)] == [
        "0.0 s",
        "119.9 s",
        "0:02:05",
        "2:03:04",
    ]


def test_the_views_drawn_among_are_said() -> None:
    found = result(data=data(views=ViewsResult(policy="crop(padding=4, flip=true)", count=162, drawn=4)))
    assert "Views 4 of 162 of crop(padding=4, flip=true)" in text_of(run_report(found, history()))
    assert "Views" not in text_of(run_report(result(), history()))


def test_the_evaluation_and_what_it_takes_to_repeat_the_run_are_on_the_page() -> None:
    found = evaluation().model_copy(update={"notes": ("No noise: the inputs are text.",)})
    gallery = Gallery([Sample({"is": "yes", "taken for": "no"}, text="Is my <card> lost?")])
    html = run_report(
        result(choices={"precision": "bf16"}),
        history(),
        evaluation=found,
        mistakes=gallery,
        settings={"training": {"epochs": 40, "optimizer": {"lr": 0.05}}, "teacher": None},
        environment={"packages": {"torch": "2.13"}},
    )
    text = text_of(html)
    assert "Accuracy 86.4 %" in text
    assert "Measured full suite on cpu" in text
    assert "Is my <card> lost?" in text
    assert "Is my <card> lost?" not in html
    assert "No noise: the inputs are text." in text
    assert "training.optimizer.lr 0.05" in text
    assert "packages.torch 2.13" in text
    assert "precision bf16" in text
    assert charts(html)[:3] == ["Accuracy against cost", "What is taken for what", "Accuracy by class"]


def test_how_many_views_were_drawn_among_is_told() -> None:
    found = result(data=data(views=ViewsResult(policy="crop(padding=4, flip=true)", count=162, drawn=4)))
    assert data_facts(found)["Views"] == "4 of 162 of crop(padding=4, flip=true)"
    assert "Views" not in data_facts(result())
