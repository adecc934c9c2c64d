"""Mean absolute error to the targets."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from limbeck import LimbeckError
from limbeck.losses import mae
from limbeck.methods import MAE
from limbeck.outputs import Batch, Outputs

NAN = float("nan")


def test_it_is_the_mean_over_all_values() -> None:
    student, targets = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[0.0, 2.0], [3.0, 1.0]])
    assert mae(student, targets).item() == pytest.approx((1 + 0 + 3 + 2) / 4)
    assert mae(student, targets, "none").tolist() == [0.5, 2.5]
    assert mae(student, targets) == F.l1_loss(student, targets)


def test_an_unknown_value_counts_zero_and_has_no_gradient() -> None:
    student = torch.tensor([[1.0, 2.0], [0.0, -1.0]], requires_grad=True)
    loss = mae(student, torch.tensor([[NAN, 1.0], [NAN, NAN]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.25, "over all 4 values, so that halves of a batch have its mean"
    assert student.grad is not None
    assert student.grad.tolist() == [[0, 0.25], [0, 0]]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(LimbeckError, match=r"mae compares values of one shape, \(B, K\), not \(2, 2\) and"):
        mae(torch.zeros(2, 2), torch.zeros(2, 1))


def test_the_method_is_the_function() -> None:
    student, targets = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [NAN]])
    terms = MAE().terms(Outputs(logits=student), Outputs(), Batch(student, targets))
    assert {name: (term.value.item(), term.kind) for name, term in terms.items()} == {"mae": (0.5, "task")}
