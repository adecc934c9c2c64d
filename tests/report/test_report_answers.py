from __future__ import annotations

from runs_for_reports import result

from limbeck.report.answers import answers
from limbeck.report.headline import lead
from limbeck.report.run import run_report
from limbeck.runs.result import AnswersResult, Metrics, Result, TeacherResult
from limbeck.tasks import Classification

TASK = Classification(("a", "b"))
ANSWERS = AnswersResult(
    samples=10_003, answered=9_800, forms={"label": 9_000, "answers": 800}, repeated=12, contradictory=5,
    compared=700, agreement=0.95,
)  # fmt: skip


def taught(file: AnswersResult = ANSWERS) -> Result:
    teacher = TeacherResult(model="answers.jsonl", parameters=None, answers=file)
    return result().model_copy(update={"teachers": {"teacher": teacher}, "agreement": None})


def test_the_answers_are_shown_as_what_they_are() -> None:
    (table,) = answers(taught(), TASK)
    assert table.caption == "The answers of the teacher"
    assert {str(row[0]): row[1] for row in table.rows} == {
        "training samples": 10_003,
        "with an answer": 9_800,
        "with an answer (%)": "98.0",
        "answered with a label": 9_000,
        "answered with votes": 800,
        "with an answer and a label": 700,
        "top-1 (%) on these": "95.00",
        "with several answers": 12,
        "with answers that contradict each other": 5,
    }


def test_a_network_has_no_such_table() -> None:
    assert answers(result(), TASK) == []


def test_the_lead_says_what_they_agree_with() -> None:
    text = lead(taught(), TASK).replace("\N{NO-BREAK SPACE}", " ")
    reach = "Its teacher is a file of answers to 9,800 of 10,003 training samples"
    assert text.endswith(f" parameters. {reach}, top-1 95.0 % on the 700 with a label.")
    bare = taught(ANSWERS.model_copy(update={"compared": 0, "agreement": None}))
    unmeasured = bare.model_copy(update={"metrics": Metrics(test=None, validation=None)})
    expected = f"the data has no test split. {reach}, of which none has a label."
    assert lead(unmeasured, TASK).endswith(expected)


def test_a_page_has_no_size_for_a_file() -> None:
    page = run_report(taught(), [])
    assert "The answers of the teacher" in page
    assert "Size: parameters relative to the first network." in page
