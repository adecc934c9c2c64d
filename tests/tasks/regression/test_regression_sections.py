"""What a report and a model card say of networks that give values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limbeck.outputs import Batch, Outputs
from limbeck.tasks import Agreement, Regression
from limbeck.tasks.regression.findings import RegressionFindings
from limbeck.tasks.sections import Lines, Table

NAN = float("nan")
SIZES = Regression(("height", "width"), (3.0, 0.0), (2.0, 1.0))
TARGETS = torch.tensor([[1.0, -1.0], [3.0, 1.0], [5.0, NAN]])


def findings(answers: Tensor, targets: Tensor = TARGETS) -> RegressionFindings:
    meter = Regression(("a", "b"), (3.0, 0.0), (2.0, 1.0)).meter()
    meter.update(Outputs(logits=answers), Batch(answers, targets))
    return meter.findings()


STUDENT = findings(TARGETS.nan_to_num(9) + torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, 5.0]]))
TEACHER = findings(TARGETS.nan_to_num(9))


def test_predicted_and_true_values_are_points_by_network() -> None:
    drawn, *_ = SIZES.sections({"student": STUDENT, "teacher": TEACHER}, None)
    points = drawn.figures[0]
    assert isinstance(points, Lines)
    assert (points.title, points.kind, points.diagonal) == ("height: predicted and true", "points", True)
    assert [(line.role, line.points) for line in points.lines] == [
        ("student", ((1, 2), (3, 2), (5, 5))),
        ("teacher", ((1, 1), (3, 3), (5, 5))),
    ]
    assert points.notes == "3 of 3 samples."
    titles = [figure.title for figure in drawn.figures if isinstance(figure, Lines)]
    assert titles[1:] == ["height: residuals", "width: predicted and true", "width: residuals"]


def test_residuals_are_shares_by_bin() -> None:
    drawn, *_ = SIZES.sections({"student": STUDENT}, None)
    residuals = drawn.figures[1]
    assert isinstance(residuals, Lines)
    (line,) = residuals.lines
    places, shares = zip(*((x, y) for x, y in line.points if y), strict=True)
    assert list(places) == pytest.approx([-0.975, 0.025, 0.975])
    assert list(shares) == pytest.approx([100 / 3] * 3)


def test_a_table_has_the_errors_by_value() -> None:
    _, values = SIZES.sections({"student": STUDENT}, None)
    (table,) = values.figures
    assert isinstance(table, Table)
    assert list(table.columns) == ["value", "RMSE", "MAE", "R²", "90 % of errors up to"]
    assert list(table.rows) == [
        ["height", "0.8165", "0.6667", "0.750", "1"],
        ["width", "0.7071", "0.5", "0.500", "1"],
    ]
    _, values = SIZES.sections({"student": STUDENT, "teacher": TEACHER}, None)
    (table,) = values.figures
    assert isinstance(table, Table)
    assert table.columns[5] == "RMSE (teacher)"
    assert list(table.rows[0][5:]) == ["0", "0", "1.000", "0"]


def test_a_value_that_no_sample_has_is_not_drawn() -> None:
    found = findings(torch.ones(2, 2), torch.tensor([[1.0, NAN], [3.0, NAN]]))
    drawn, values = SIZES.sections({"student": found}, None)
    assert len(drawn.figures) == 2
    (table,) = values.figures
    assert isinstance(table, Table)
    assert list(table.rows[1]) == ["width", None, None, None, None]


def test_agreement_is_a_sentence() -> None:
    *_, agreement = SIZES.sections({"student": STUDENT}, Agreement(agreement=None, distance=0.1234))
    assert agreement.text == (
        "The values of student and teacher differ by a root mean square of 0.123 standard deviations of the "
        "training targets."
    )


def test_a_model_card_names_the_worst_value_and_its_errors() -> None:
    assert SIZES.weaknesses(STUDENT) == (
        "It is weakest on `width`: it explains 50.0 % of the variance.",
        "Its errors on `width` are up to 1 in 90 % of the samples and up to 1 in 99 %; its answers are +0.5 "
        "off on average.",
    )
    constant = findings(torch.ones(2, 2), torch.tensor([[3.0, NAN], [3.0, NAN]]))
    assert SIZES.weaknesses(constant) == (
        "Its errors on `height` are up to 2 in 90 % of the samples and up to 2 in 99 %; its answers are -2 "
        "off on average.",
    )
