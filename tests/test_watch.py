"""What a Distiller looks out for: parts that nobody trains, and inputs that are not finite."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from limbeck import Batch, Distiller, Outputs
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.terms import Term
from limbeck.watch import sums_of_inputs, sums_of_teachers


def network(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 4),
    )


INPUTS, TARGETS = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4


def distiller(objective: str | Method = "ce + fitnet") -> Distiller:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Distiller(network(3), network(4), objective, example=INPUTS)


def said(made: Distiller, steps: int, step: Callable[[int], None]) -> list[str]:
    """The warnings of a loop; the gradients of the methods' parts pile up where nobody clears them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number in range(steps):
            made(INPUTS, TARGETS).backward()
            step(number)
    return [str(each.message) for each in caught]


def stepping(optimizer: torch.optim.Optimizer, *, every: int = 1, first: int = 0) -> Callable[[int], None]:
    def step(number: int) -> None:
        if number >= first and (number + 1) % every == 0:
            optimizer.step()
            optimizer.zero_grad()

    return step


@pytest.mark.parametrize(("every", "first"), [(1, 0), (6, 0), (1, 9)])
def test_parts_that_no_optimizer_has_are_named_once(every: int, first: int) -> None:
    """Also with accumulated gradients, and with a rate that is zero at first."""
    made = distiller()
    optimizer = torch.optim.SGD(made.student.parameters(), lr=0.01)
    (message,) = said(made, 40, stepping(optimizer, every=every, first=first))
    count = len([p for p in made.objective.parameters() if p.requires_grad])
    assert message.startswith("the student learns, but ")
    # All but the bias before a batch norm, whose gradient is zero but for rounding.
    assert f" of fitnet and {count - 2} more, which the objective trains with it" in message
    assert message.endswith("make yours with distiller.optimizer(...), or of distiller.parameters()")


def test_it_is_said_before_the_fourth_step_is_done() -> None:
    made = distiller()
    step = stepping(torch.optim.SGD(made.student.parameters(), lr=0.01))
    assert said(made, 3, step) == []
    assert len(said(made, 1, step)) == 1


class Adapted(Method):
    """Two factors, of which the second begins at zero, so the first gets no gradient in the first step."""

    name = "adapted"
    reads = Reads(student=("logits",), teacher=("logits",))

    def bind(self, context: Context) -> None:
        self.down, self.up = nn.Parameter(torch.ones(4, 2)), nn.Parameter(torch.zeros(2, 4))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        moved = student.logits + student.logits @ self.down @ self.up
        return {"all": Term((moved - teacher.logits).square().mean())}


@pytest.mark.parametrize("every", [1, 2, 3, 4, 5])
def test_parts_whose_first_gradient_is_zero_are_not_named(every: int) -> None:
    """As with an adapter, whose second factor begins at zero."""
    made = distiller(Adapted())  # the first gets gradients so small that float32 has no step for them
    assert said(made, 40, stepping(torch.optim.SGD(made.parameters(), lr=0.01), every=every)) == []


@pytest.mark.parametrize("own", [True, False])
def test_parts_that_are_trained_are_not_named(own: bool) -> None:
    made = distiller()
    optimizer = (
        made.optimizer(lambda parameters: torch.optim.SGD(parameters, lr=0.01))
        if own
        else torch.optim.SGD(made.parameters(), lr=0.01)
    )
    before = copy.deepcopy(made.objective.state_dict())
    assert said(made, 20, stepping(optimizer)) == []
    assert any(not torch.equal(value, before[name]) for name, value in made.objective.state_dict().items())


def test_parts_that_are_frozen_or_get_no_gradient_are_not_named() -> None:
    frozen, unused = distiller(), distiller("ce + 0*fitnet")
    frozen.objective.requires_grad_(False)
    for made in (frozen, unused):
        assert said(made, 20, stepping(torch.optim.SGD(made.student.parameters(), lr=0.01))) == []


def test_a_loop_that_takes_no_step_is_left_alone() -> None:
    assert said(distiller(), 40, lambda number: None) == []


def test_looking_changes_no_gradient() -> None:
    made, plain = distiller(), distiller()
    plain._untrained._over = True
    for each in (made, plain):
        said(each, 6, stepping(torch.optim.SGD(each.student.parameters(), lr=0.01)))
    assert all(
        torch.equal(mine.grad, theirs.grad)
        for mine, theirs in zip(made.objective.parameters(), plain.objective.parameters(), strict=True)
        if mine.grad is not None and theirs.grad is not None
    )
    assert all(
        torch.equal(mine, theirs) for mine, theirs in zip(made.parameters(), plain.parameters(), strict=True)
    )


def test_an_evaluation_is_no_step() -> None:
    made = distiller()
    step = stepping(torch.optim.SGD(made.student.parameters(), lr=0.01))
    said(made, 2, step)
    with torch.no_grad():
        for _ in range(5):
            made(INPUTS, TARGETS)
    assert said(made, 1, step) == []
    assert len(said(made, 1, step)) == 1


def test_sums_of_inputs() -> None:
    assert sums_of_inputs(torch.tensor([[1, 2]])) == {}
    assert sums_of_inputs(torch.tensor([[1.0, 2.5]])) == {"the inputs of the batch": torch.tensor(3.5)}
    named = {"ids": torch.tensor([[7]]), "values": torch.tensor([[1.0]]), "weights": torch.tensor([[2.0]])}
    assert sums_of_inputs(named) == {"the inputs of the batch": torch.tensor(3.0)}


def test_sums_of_teachers() -> None:
    one = Outputs(
        logits=torch.tensor([[1.0, 2.0]]),
        stages=(torch.ones(2), torch.tensor([torch.nan])),
        mask=torch.ones(2, 2, dtype=torch.bool),
        views={"crop": Outputs(logits=torch.tensor([4.0]))},
    )
    found = sums_of_teachers(one)
    assert found.keys() == {
        "the logits of the teacher",
        "the stages of the teacher",
        "the views of the teacher",
    }
    assert found["the logits of the teacher"].item() == 3
    assert found["the stages of the teacher"].isnan()
    assert found["the views of the teacher"].item() == 4
    other = Outputs(logits=torch.tensor([5.0]))
    several = sums_of_teachers(one.replace(named={"big": Outputs(logits=torch.tensor([2.0])), "old": other}))
    assert {name: value.item() for name, value in several.items()} == {
        "the logits of the teacher 'big'": 2,
        "the logits of the teacher 'old'": 5,
    }


def test_the_losses_bring_them() -> None:
    losses = distiller("kd")(Batch(INPUTS))
    assert losses.given.keys() == {"the inputs of the batch", "the logits of the teacher"}
    assert losses.reweighed(2.0).given is losses.given
    assert losses.given["the inputs of the batch"].item() == pytest.approx(INPUTS.sum().item())
