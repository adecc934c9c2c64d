"""Mean squared error to the targets."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from limbeck import LimbeckError
from limbeck.losses import mse
from limbeck.methods import MSE
from limbeck.outputs import Batch, Outputs

NAN = float("nan")


def test_it_is_the_mean_over_all_values() -> None:
    student, targets = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[0.0, 2.0], [3.0, 1.0]])
    assert mse(student, targets).item() == pytest.approx((1 + 0 + 9 + 4) / 4)
    assert mse(student, targets, "none").tolist() == [0.5, 6.5]
    assert mse(student, targets) == F.mse_loss(student, targets)


def test_an_unknown_value_counts_zero_and_has_no_gradient() -> None:
    student = torch.tensor([[1.0, 2.0], [0.0, -1.0]], requires_grad=True)
    targets = torch.tensor([[NAN, 1.0], [NAN, NAN]])
    loss = mse(student, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.25, "over all 4 values, so that halves of a batch have its mean"
    assert student.grad is not None
    assert student.grad.tolist() == [[0, 0.5], [0, 0]]


@pytest.mark.parametrize("shape", [(2, 1), (2,), (1, 2), (2, 2, 1)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(LimbeckError, match=r"values of one shape, \(B, K\), not \(2, 2\) and \("):
        mse(torch.zeros(2, 2), torch.zeros(shape))
    with pytest.raises(LimbeckError, match=r"mse compares .* \(B, K\), not \(2,\) and \(2,\)"):
        mse(torch.zeros(2), torch.zeros(2))


def test_the_method_is_the_function() -> None:
    student, targets = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [NAN]])
    terms = MSE().terms(Outputs(logits=student), Outputs(), Batch(student, targets))
    assert {name: (term.value.item(), term.kind) for name, term in terms.items()} == {"mse": (0.5, "task")}
