"""Named terms and the one sum that is minimized."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from limbeck import LimbeckError
from limbeck.methods import Losses, Term

x = torch.tensor(3.0)


def losses(leaf: Tensor = x) -> Losses:
    return Losses(
        {
            "ce": Term(leaf, "task", 0.1),
            "kd": Term(leaf**2, weight=0.9),
            "icd.contrast": Term(leaf * 10, "distillation"),
            "adversarial.discriminator": Term(leaf * 100, "own"),
            "adversarial.accuracy": Term(torch.tensor(0.75), "monitor"),
        }
    )


def test_a_term_is_scaled_by_the_sum_it_is_in() -> None:
    term = Term(x, "task", 0.5).scaled(0.1).scaled(4)
    assert (term.value, term.kind, term.weight) == (x, "task", 0.2)
    assert Term(x).scaled(0.3) == Term(x, "distillation", 0.3)


@pytest.mark.parametrize("kind", ["own", "monitor"])
def test_what_is_not_the_students_is_not_scaled(kind: str) -> None:
    term = Term(x, kind)  # type: ignore[arg-type]
    assert term.scaled(0.1) is term


def test_the_sums() -> None:
    found = losses()
    assert found.total.item() == pytest.approx(0.1 * 3 + 0.9 * 9 + 30 + 300), "without what is only watched"
    assert found.task is not None
    assert found.task.item() == pytest.approx(0.3)
    assert found.distillation is not None
    assert found.distillation.item() == pytest.approx(0.9 * 9 + 30)


def test_a_sum_of_nothing_is_none() -> None:
    assert Losses({"ce": Term(x, "task")}).distillation is None
    assert Losses({"kd": Term(x)}).task is None
    assert Losses({"d": Term(x, "own")}).total.item() == 3


@pytest.mark.parametrize("terms", [{}, {"accuracy": Term(x, "monitor")}])
def test_there_must_be_something_to_minimize(terms: dict[str, Term]) -> None:
    with pytest.raises(LimbeckError, match="no term to minimize in this phase; add one, for example ce"):
        Losses(terms)


def test_backward_is_that_of_the_total() -> None:
    leaf = torch.tensor(3.0, requires_grad=True)
    losses(leaf).backward()
    assert leaf.grad is not None
    assert leaf.grad.item() == pytest.approx(0.1 + 0.9 * 6 + 10 + 100)
    losses(leaf).backward()
    assert leaf.grad.item() == pytest.approx(2 * (0.1 + 0.9 * 6 + 10 + 100)), "gradients add up"


def test_backward_may_be_scaled() -> None:
    leaf = torch.tensor(3.0, requires_grad=True)
    losses(leaf).backward(0.5)
    assert leaf.grad is not None
    assert leaf.grad.item() == pytest.approx((0.1 + 0.9 * 6 + 10 + 100) / 2)


def test_a_rule_takes_the_place_of_backward() -> None:
    calls = []
    found = Losses({"ce": Term(x, "task")}, lambda losses, scale: calls.append((losses, scale)))
    found.backward()
    found.backward(0.25)
    assert [scale for _, scale in calls] == [1, 0.25]
    assert calls[0][0] is found
    assert repr(found) == "Losses(total=3, ce=3)"


def test_one_term_of_weight_one_is_the_total_itself() -> None:
    assert Losses({"ce": Term(x, "task")}).total is x


def test_names_and_values() -> None:
    found = losses()
    names = ["ce", "kd", "icd.contrast", "adversarial.discriminator", "adversarial.accuracy"]
    values = [3.0, 9.0, 30.0, 300.0, 0.75]
    assert list(found) == list(found.keys()) == list(dict(found)) == names
    assert [value.item() for value in found.values()] == values, "each as its equation gives it, unweighted"
    assert {name: value.item() for name, value in found.items()} == dict(zip(names, values, strict=True))
    assert {name: value.item() for name, value in dict(found).items()} == dict(
        zip(names, values, strict=True)
    )
    assert found["kd"] == 9
    assert len(found) == 5
    assert "kd" in found
    assert "total" not in found
    with pytest.raises(KeyError):
        found["dkd"]


def test_wrappers_find_its_tensors_and_do_not_rebuild_it() -> None:
    found = losses()
    assert dataclasses.is_dataclass(found)
    assert not isinstance(found, Mapping)


def test_repr_is_for_a_log() -> None:
    assert repr(Losses({"ce": Term(torch.tensor(1.23456), "task", 0.5)})) == "Losses(total=0.6173, ce=1.235)"
