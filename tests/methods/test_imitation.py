"""The distance of a student's values from its teacher's."""

from __future__ import annotations

import pytest
import torch

from limbeck import LimbeckError
from limbeck.losses import imitation
from limbeck.methods import Imitation
from limbeck.methods.parts.values import Distance
from limbeck.objective import parse
from limbeck.outputs import Batch, Outputs


@pytest.mark.parametrize(
    ("loss", "expected"), [("mse", [2.5, 4.5]), ("l1", [1.5, 1.5]), ("huber", [1.0, 1.25])]
)
def test_it_is_the_distance_asked_for(loss: Distance, expected: list[float]) -> None:
    student, teacher = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 0.0]])
    assert imitation(student, teacher, loss, "none").tolist() == expected
    assert imitation(student, teacher, loss).item() == sum(expected) / 2
    terms = Imitation(loss).terms(Outputs(logits=student), Outputs(logits=teacher), Batch(student))
    assert {name: (term.value.item(), term.kind) for name, term in terms.items()} == {
        "imitation": (sum(expected) / 2, "distillation")
    }


def test_the_teacher_may_not_be_unsure() -> None:
    assert imitation(torch.zeros(1, 1), torch.tensor([[float("nan")]])).isnan(), "a broken teacher is seen"


def test_other_shapes_are_refused() -> None:
    with pytest.raises(LimbeckError, match=r"imitation compares values of one shape, .* not \(2, 2\) and"):
        imitation(torch.zeros(2, 2), torch.zeros(2, 1))


def test_an_unknown_distance_is_refused() -> None:
    with pytest.raises(LimbeckError, match=r'the argument loss="l2" should be \'mse\', \'huber\' or \'l1\''):
        parse('imitation(loss="l2")')
