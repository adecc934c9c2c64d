from __future__ import annotations

import math

import pytest
import torch

from limbeck.outputs import Batch, Outputs
from limbeck.tasks import Classification
from limbeck.tasks.classification.findings import ClassificationAgreement, ClassificationFindings, Correlation
from limbeck.tasks.sections import Bars, Heatmap, Lines, Table

TASK = Classification(("ant", "bee", "cow"))


def found(
    answers: list[int], targets: list[int], *, classes: int = 3, fitted: bool = True
) -> ClassificationFindings:
    """Of a network that gives these answers, each with the logit 2."""
    task, meter = Classification(tuple(map(str, range(classes)))), TASK.meter()
    logits = 2 * torch.eye(classes)[answers]
    batch = Batch(torch.zeros(len(answers), 1), torch.tensor(targets))
    meter.update(Outputs(logits=logits), batch)
    return task.measure(meter, meter if fitted else None)


STUDENT = found([0, 0, 0, 1, 1, 0, 0, 2], [0, 0, 0, 1, 1, 1, 1, 1])
TEACHER = found([0, 0, 0, 1, 1, 1, 0, 2], [0, 0, 0, 1, 1, 1, 1, 1])


def test_what_is_taken_for_what() -> None:
    confusion, *_ = TASK.sections({"student": STUDENT, "teacher": TEACHER}, None)
    matrix, by_class, f1, pairs = confusion.figures
    assert isinstance(matrix, Heatmap)
    assert list(matrix.names) == ["ant", "bee", "cow"]
    assert matrix.values == ((3, 0, 0), (2, 2, 1), (0, 0, 0))
    assert matrix.shades is not None
    assert matrix.shades[0] == [1, 0, 0]
    assert matrix.shades[1] == pytest.approx([math.sqrt(2 / 5), math.sqrt(2 / 5), math.sqrt(1 / 5)])
    assert (matrix.x, matrix.y) == ("answer", "true class")
    assert isinstance(by_class, Bars)
    assert by_class.names == ["ant", "bee"], "in the order of the matrix; no sample is a cow"
    assert by_class.series == {"student": [100, 40], "teacher": [100, 60]}
    rate = STUDENT.accuracy.per_class[1]
    assert rate is not None
    assert by_class.limits["student"][1] == (100 * rate.low, 100 * rate.high)
    assert isinstance(pairs, Table)
    assert pairs.rows == [["bee", "ant", "2", "5"], ["bee", "cow", "1", "5"]]
    assert isinstance(f1, Table)
    assert list(f1.columns)[2:] == ["precision (%)", "recall (%)", "F1 (%)", "F1 of the teacher (%)"]
    assert f1.rows == [
        ["ant", "3", "60.0", "100.0", "75.0", "85.7"],
        ["bee", "5", "100.0", "40.0", "57.1", "75.0"],
        ["cow", "0", "0.0", None, "0.0", "0.0"],
    ], "in the order of the matrix"
    assert "the mean of its F1 is 44.0 %, the macro F1." in f1.notes


def test_of_many_classes_there_is_no_matrix_and_the_worst_are_shown() -> None:
    task = Classification(tuple(map(str, range(30))))
    answers = [*range(29), 0]
    confusion, *_ = task.sections({"student": found(answers, list(range(30)), classes=30)}, None)
    by_class, f1, pairs = confusion.figures
    assert isinstance(by_class, Bars)
    assert by_class.names == ["29", *map(str, range(19))]
    assert by_class.notes.endswith("The 20 least known of 30.")
    assert isinstance(pairs, Table)
    assert pairs.rows == [["29", "0", "1", "1"]]
    assert isinstance(f1, Table)
    assert f1.rows[:2] == [["29", "1", None, "0.0", "0.0"], ["0", "1", "50.0", "100.0", "66.7"]]
    assert len(f1.rows) == 30
    assert f1.notes.endswith("The lowest F1 comes first.")


def test_of_very_many_classes_the_table_has_those_with_the_lowest_f1() -> None:
    task = Classification(tuple(map(str, range(120))))
    confusion, *_ = task.sections({"student": found([*range(119), 0], list(range(120)), classes=120)}, None)
    f1 = confusion.figures[1]
    assert isinstance(f1, Table)
    assert [row[0] for row in f1.rows] == ["119", "0", *map(str, range(1, 99))]
    assert f1.notes.endswith("The 100 lowest of 120.")


def test_a_network_that_is_always_right_confuses_no_pair() -> None:
    confusion, *_ = TASK.sections({"student": found([0, 1, 2], [0, 1, 2])}, None)
    assert [type(figure) for figure in confusion.figures] == [Heatmap, Bars, Table]


def test_a_class_that_the_teacher_never_saw_leaves_its_mark_out() -> None:
    other = found([0, 0], [0, 0])
    by_class = TASK.sections({"student": STUDENT, "teacher": other}, None)[0].figures[1]
    assert isinstance(by_class, Bars)
    assert math.isnan(by_class.series["teacher"][1])
    assert by_class.series["teacher"][0] == 100


def test_calibration() -> None:
    _, section = TASK.sections({"student": STUDENT, "baseline": TEACHER}, None)
    reliability, sureness, confidence = section.figures
    its = STUDENT.calibration
    assert isinstance(reliability, Lines)
    assert reliability.diagonal
    assert [line.role for line in reliability.lines] == ["student", "baseline"]
    assert list(reliability.lines[0].points) == [(100 * b.confidence, 100 * b.accuracy) for b in its.bins]
    assert isinstance(sureness, Lines)
    assert [y for _, y in sureness.lines[0].points] == [100 * (at + 0.5) / 8 for at in range(8)]
    assert isinstance(confidence, Table)
    assert its.temperature is not None
    assert its.ece_after is not None
    assert confidence.rows[0] == [
        "student",
        f"{100 * its.ece:.1f}",
        f"{STUDENT.nll:.3f}",
        f"{its.temperature:.2f}",
        f"{100 * its.ece_after:.1f}",
        f"{its.nll_after:.3f}",
    ]
    assert section.text == (
        f"The student's confidence is {100 * its.ece:.1f} percentage points away from its accuracy on "
        f"average. Logits divided by the temperature {its.temperature:.2f}, which the validation split "
        f"gives, make it {100 * its.ece_after:.1f} points."
    )


def test_calibration_without_a_temperature() -> None:
    plain = found([0, 0, 1], [0, 1, 1], fitted=False)
    _, section = TASK.sections({"student": plain}, None)
    assert "temperature" not in section.text
    *_, table = section.figures
    assert isinstance(table, Table)
    assert table.rows[0][3:] == [None, None, None]
    assert table.notes.endswith("No temperature was fitted.")


def test_classes_that_the_student_takes_for_more_alike() -> None:
    matrix = ((0.0, -0.25, 0.0), (-0.25, 0.0, 0.1), (0.0, 0.1, 0.0))
    its = ClassificationAgreement(
        agreement=0.875, distance=0.1234, correlation=Correlation(difference=0.0778, matrix=matrix)
    )
    *_, section = TASK.sections({"student": STUDENT, "teacher": TEACHER}, its)
    assert section.text == (
        "The correlations between the logits of two classes differ by 0.078 between student and teacher on "
        "average; 0 if both take the same classes for alike."
    )
    (figure,) = section.figures
    assert isinstance(figure, Heatmap)
    assert figure.values == matrix
    assert figure.diverging
    assert figure.notes.endswith("The darkest cell is 0.25 away from 0.")
    many = its.model_copy(update={"correlation": Correlation(difference=0.1, matrix=None)})
    assert TASK.sections({"student": STUDENT}, many)[-1].figures == []


def test_weaknesses() -> None:
    worst, confused, sure, after = TASK.weaknesses(STUDENT)
    assert worst.startswith("It is weakest on `bee`: right in 40.0 % (")
    assert worst.endswith(") of 5 samples.")
    assert (
        confused == "What it takes for something else most often: `bee` for `ant` (2), `bee` for `cow` (1)."
    )
    ece = f"{100 * STUDENT.calibration.ece:.1f}"
    assert sure == f"Its confidence is off by {ece} % on average (ECE, 15 bins of equal mass)."
    assert ", helps: that becomes" in after
    made_worse = STUDENT.calibration.model_copy(update={"nll_after": STUDENT.nll + 1})
    text = TASK.weaknesses(STUDENT.model_copy(update={"calibration": made_worse}))[3]
    assert ", does not mend it: that becomes" in text


def test_remarks_on_temperatures() -> None:
    unfitted = STUDENT.model_copy(
        update={"calibration": STUDENT.calibration.model_copy(update={"temperature": None})}
    )
    both = {"student": unfitted, "teacher": unfitted, "baseline": STUDENT}
    assert TASK.remarks(both, validation=True) == (
        "No temperature is given for student and teacher: on the validation split, none from 0.01 to 100 is "
        "best.",
    )
    assert TASK.remarks({"student": STUDENT}, validation=True) == ()
    assert TASK.remarks(both, validation=False) == (
        "No temperature is fitted: the data has no validation split to fit it on.",
    )
