from __future__ import annotations

import pytest
from evaluations_for_reports import evaluation
from runs_for_reports import alone, result, teacher

from limbeck.report.headline import compact, lead, tiles, title
from limbeck.runs.result import Metrics
from limbeck.tasks import Classification, Metric

TASK = Classification(tuple(map(str, range(10))))


def shown(**changes: bool) -> dict[str, str]:
    return {
        tile.label: f"{tile.value} {tile.unit}".strip().replace("\N{MULTIPLICATION SIGN}", " times")
        for tile in tiles(evaluation(**changes))
    }


def test_tiles_are_what_to_decide_by() -> None:
    assert shown() == {
        "Top-1": "86.4 %",
        "Against teacher": "\N{MINUS SIGN}11.1 points",
        "Against baseline": "+13.9 points",
        "Multiply-adds": "40 times fewer",
        "Parameters": "40 times fewer",
        "Latency, one sample": "0.163 ms",
    }
    assert "Latency, one sample" not in shown(full=False)
    assert list(shown(teacher=False)) == ["Top-1", "Multiply-adds"]
    assert tiles(None) == []


@pytest.mark.parametrize(
    ("model", "taught_by", "data", "said"),
    [
        ("cnn(channels=[4, 8])", "runs/teacher", "digits(labeled=9)", "cnn distilled from teacher on digits"),
        ("<MyNet>", None, 'text(path="mail/tickets.csv", label="team")', "MyNet trained on tickets.csv"),
        ("hf:./minilm(layers=2)", "answers.jsonl", "text", "minilm distilled from answers.jsonl on text"),
    ],
)
def test_a_page_is_called_by_short_names(model: str, taught_by: str | None, data: str, said: str) -> None:
    found = result()
    taught = {} if taught_by is None else {"teacher": teacher(model=taught_by)}
    student = found.student.model_copy(update={"model": model})
    its_data = found.data.model_copy(update={"name": data})
    changes = {"teachers": taught, "student": student, "data": its_data}
    assert title(found.model_copy(update=changes)) == said


def test_notes_of_the_tiles() -> None:
    notes = [tile.note.replace("\N{NO-BREAK SPACE}", " ") for tile in tiles(evaluation())]
    assert notes[0] == "81.4 to 91.4 % on 360 test samples"
    assert notes[1] == "which has 97.5 %"
    assert notes[3] == "13 k against 520 k"


def test_of_some_metrics_less_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Classification, "metrics", (Metric("nll", "RMSE", unit="mm", higher=False),))
    first, against, *_ = tiles(evaluation())
    assert (first.label, first.value, first.unit) == ("RMSE", "0.500", "mm")
    assert first.note == "on 360 test samples; lower is better"
    assert (against.value, against.unit) == ("+0.000", "mm")


def test_the_lead_says_what_student_and_teacher_reach() -> None:
    text = lead(result(), TASK).replace("\N{NO-BREAK SPACE}", " ")
    assert text == (
        "On the test split the student has a top-1 of 85.0 % with 650 parameters; its teacher has 99.6 % "
        "with 26,000. They decide 90.0 % of the samples alike."
    )
    unknown = result(teachers={"teacher": teacher(metrics=None)}, agreement=None)
    text = lead(unknown, TASK).replace("\N{NO-BREAK SPACE}", " ")
    assert text == "On the test split the student has a top-1 of 85.0 % with 650 parameters."
    unmeasured = result(metrics=Metrics(test=None, validation=None))
    assert "How good it is, is not known" in lead(unmeasured, TASK)


def test_the_lead_says_what_the_student_reaches_alone() -> None:
    text = lead(result(baseline=alone()), TASK).replace("\N{NO-BREAK SPACE}", " ")
    assert text.endswith(
        " alike. Alone, by ce in as many steps, the student has 77.0 %. The difference is +8.00 points of "
        "top-1 on the test split, from 1 seed, which gives no interval."
    )
    text = lead(result(baseline=alone(5)), TASK)
    assert text.endswith(", mean over 5 seeds, 95 % interval +5.50 to +10.50: better.")
    assert "Alone" not in lead(result(baseline="No student is trained alone."), TASK)


def test_the_tile_of_the_student_alone_says_how_many_seeds_there_are() -> None:
    found = evaluation()
    network = found.networks["baseline"].model_copy(update={"run": "runs/student-alone"})
    found = found.model_copy(update={"networks": {**found.networks, "baseline": network}})
    for its, rests in ((alone(), "from 1 seed"), (alone(3), "+8.00 points over 3 seeds")):
        tile = tiles(found, its)[2]
        assert (tile.label, tile.value) == ("Against student alone", "+13.9")
        assert tile.note.replace("\N{NO-BREAK SPACE}", " ") == f"which has 72.5 %; {rests}"
    other = tiles(found, alone(place="../another"))[2]
    assert other.label == "Against baseline", "which somebody has measured since"


def test_compact() -> None:
    texts = [compact(number).replace("\N{NO-BREAK SPACE}", " ") for number in (7, 650, 61706, 1.5e6, 2.25e9)]
    assert texts == ["7", "650", "61.7 k", "1.5 M", "2.25 G"]
