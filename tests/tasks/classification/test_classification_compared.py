from __future__ import annotations

import math

import pytest
from test_classification_sections import STUDENT, TASK, TEACHER, found

from limbeck.tasks.sections import Bars, Lines, Table


def test_accuracy_by_class_is_a_mean_over_the_seeds() -> None:
    classes, _ = TASK.compared({"kd": [STUDENT, TEACHER], "ce": [STUDENT]})
    (by_class,) = classes.figures
    assert isinstance(by_class, Bars)
    assert by_class.names == ["ant", "bee"], "no sample is a cow"
    # bees: 2 and 3 of 5 right; ants all
    assert by_class.series == {"kd": [100, pytest.approx(50)], "ce": [100, 40]}
    assert by_class.kind == "points"


def test_a_class_that_a_network_was_never_shown_leaves_its_mark_out() -> None:
    by_class = TASK.compared({"kd": [STUDENT], "ce": [found([0], [0])]})[0].figures[0]
    assert isinstance(by_class, Bars)
    assert math.isnan(by_class.series["ce"][1])


def test_calibration_is_a_mean_over_the_seeds() -> None:
    _, calibration = TASK.compared({"kd": [STUDENT, TEACHER], "ce": [STUDENT]})
    assert calibration.text == "", "there is no one student to speak of"
    reliability, sureness, confidence = calibration.figures
    assert isinstance(reliability, Lines)
    assert isinstance(sureness, Lines)
    assert isinstance(confidence, Table)
    assert "Means over the seeds." in reliability.notes
    ours, theirs = STUDENT.calibration, TEACHER.calibration
    first = reliability.lines[0].points[0]
    assert first[0] == pytest.approx(50 * (ours.bins[0].confidence + theirs.bins[0].confidence))
    assert first[1] == pytest.approx(50 * (ours.bins[0].accuracy + theirs.bins[0].accuracy))
    assert sureness.lines[1].points[0][1] == pytest.approx(50 * ours.bins[0].samples / 8)
    assert confidence.rows[1][1] == f"{100 * ours.ece:.1f}"
    assert " ± " in str(confidence.rows[0][1])
