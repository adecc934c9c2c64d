"""The Huber loss to the targets."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from limbeck import LimbeckError
from limbeck.losses import huber
from limbeck.methods import Huber
from limbeck.objective import parse
from limbeck.outputs import Batch, Outputs

NAN = float("nan")


@pytest.mark.parametrize(
    ("delta", "expected"), [(1.0, [0.125, 2.5]), (0.25, [0.09375, 0.71875]), (4, [0.125, 4.5])]
)
def test_it_is_quadratic_up_to_delta_and_linear_beyond(delta: float, expected: list[float]) -> None:
    student, targets = torch.tensor([[0.5], [-3.0]]), torch.zeros(2, 1)
    assert huber(student, targets, delta, "none").tolist() == expected
    assert huber(student, targets, delta).item() == pytest.approx(sum(expected) / 2)


def test_with_delta_one_it_is_the_smooth_l1_loss() -> None:
    student = torch.linspace(-3, 3, 12).view(4, 3)
    torch.testing.assert_close(huber(student, 0 * student), F.smooth_l1_loss(student, 0 * student))


def test_an_unknown_value_counts_zero_and_has_no_gradient() -> None:
    student = torch.tensor([[1.0, 2.0], [0.0, -1.0]], requires_grad=True)
    loss = huber(student, torch.tensor([[NAN, 0.0], [NAN, NAN]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 1.5 / 4
    assert student.grad is not None
    assert student.grad.tolist() == [[0, 0.25], [0, 0]]


def test_the_method_is_the_function() -> None:
    student, targets = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [NAN]])
    terms = Huber(delta=0.5).terms(Outputs(logits=student), Outputs(), Batch(student, targets))
    assert {name: (term.value.item(), term.kind) for name, term in terms.items()} == {
        "huber": (0.5 * 0.75 / 2, "task")
    }


def test_delta_is_positive() -> None:
    with pytest.raises(LimbeckError, match="the argument delta=0 should be greater than 0"):
        parse("huber(delta=0)")
