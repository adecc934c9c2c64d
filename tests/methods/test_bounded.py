"""The teacher-bounded regression loss."""

from __future__ import annotations

import pytest
import torch

from limbeck import LimbeckError
from limbeck.losses import bounded
from limbeck.methods import Bounded
from limbeck.objective import parse
from limbeck.outputs import Batch, Outputs

NAN = float("nan")
STUDENT = torch.tensor([[1.0, 1.0], [2.0, 0.0], [0.0, 1.0]])
TEACHER = torch.tensor([[0.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
TARGETS = torch.zeros(3, 2)
# Squared errors: of the student 1, 2 and 1/2; of the teacher 1/2, 9/2 and 1/2.


@pytest.mark.parametrize(
    ("margin", "expected"), [(0.0, [1, 0, 0]), (0.1, [1, 0, 0.5]), (2.5, [1, 0, 0.5]), (2.6, [1, 2, 0.5])]
)
def test_only_a_student_that_is_not_better_by_the_margin_learns(margin: float, expected: list[float]) -> None:
    student = STUDENT.clone().requires_grad_()
    each = bounded(student, TEACHER, TARGETS, margin, "none")
    assert each.tolist() == expected
    mean = bounded(student, TEACHER, TARGETS, margin)
    mean.backward()  # type: ignore[no-untyped-call]
    assert mean.item() == pytest.approx(sum(expected) / 3)
    learns = torch.tensor(expected).bool().unsqueeze(1)
    assert student.grad is not None
    torch.testing.assert_close(student.grad, torch.where(learns, STUDENT, 0) / 3)


def test_an_unknown_value_is_no_error_of_either() -> None:
    targets = torch.tensor([[NAN, 0.0], [NAN, NAN], [0.0, NAN]])
    assert bounded(STUDENT, TEACHER, targets, 0.0, "none").tolist() == [0, 0, 0]
    assert bounded(STUDENT, TEACHER, targets, 0.1, "none").tolist() == [0.5, 0, 0]


def test_the_method_is_the_function() -> None:
    outputs = Outputs(logits=STUDENT), Outputs(logits=TEACHER)
    terms = Bounded(margin=0.1).terms(*outputs, Batch(STUDENT, TARGETS))
    assert {name: (term.value.item(), term.kind) for name, term in terms.items()} == {
        "bounded": (0.5, "distillation")
    }
    assert Bounded.recipe == "huber + 0.5*bounded"


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(LimbeckError, match="the argument margin=-1 should be greater than or equal to 0"):
        parse("bounded(margin=-1)")
    with pytest.raises(LimbeckError, match=r"bounded compares values of one shape, \(B, K\), not"):
        bounded(STUDENT, TEACHER, TARGETS[:, :1])
