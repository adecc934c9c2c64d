"""What part of a gradient is whose: read off the graph, and kept true to `.grad`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck import LimbeckError
from limbeck.methods import Losses, Method, Term
from limbeck.methods.gradient_rules import SplitOptimizer, leaves


def leaf(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor([value, 2.0 * value]))


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.variable = x  # as AccumulateGrad has one
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 2 * gradients[0]


def test_leaves_are_those_that_a_gradient_reaches() -> None:
    a, b, c, d = leaf(1), leaf(2), leaf(3), leaf(4)
    doubled: Tensor = Doubled.apply(b * c)  # type: ignore[no-untyped-call]
    value = (a * 0 + doubled + d.detach()).sum()
    assert leaves([value]) == {a, b, c}, "a gradient of zero is one too"
    assert leaves([a]) == {a}
    assert leaves([value, d.sum()]) == {a, b, c, d}
    assert leaves([torch.ones(1)]) == leaves([]) == set()
    frozen = leaf(5).requires_grad_(False)
    assert leaves([(frozen * a).sum()]) == {a}
    deep = a
    for _ in range(5000):
        deep = deep + b  # type: ignore[assignment]
    assert leaves([deep]) == {a, b}


class Parts:
    """Parameters with a gradient of the task's, of both, of distillation, of a method's own, and none."""

    def __init__(self) -> None:
        self.task, self.both, self.distillation, self.own, self.idle = (leaf(value) for value in range(1, 6))
        self.optimizer = SplitOptimizer(torch.optim.SGD(vars(self).values(), lr=1.0))

    def losses(self) -> Losses:
        return Losses(
            {
                "ce": Term((self.task * self.both).sum(), "task", 0.5),
                "kd": Term((self.both**2 * self.distillation).sum(), "distillation", 3.0),
                "d": Term((self.own * self.both.detach()).sum(), "own"),
                "seen": Term((self.idle.detach() ** 2).sum(), "monitor"),
            },
            self.optimizer.backward,
        )

    def split(self) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        names = {parameter: name for name, parameter in vars(self).items() if isinstance(parameter, Tensor)}
        distillation, others = self.optimizer.split()
        return tuple({names[p]: g.tolist() for p, g in part.items()} for part in (distillation, others))  # type: ignore[return-value]


KD = {"both": [36.0, 144.0], "distillation": [12.0, 48.0]}
REST = {"both": [0.5, 1.0], "task": [1.0, 2.0], "own": [2.0, 4.0]}


def times(factor: float, part: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [factor * value for value in values] for name, values in part.items()}


def test_each_part_by_hand() -> None:
    parts = Parts()
    parts.losses().backward()
    assert parts.split() == (KD, REST)
    assert parts.split() == (KD, REST), "asked again"
    assert parts.both.grad is not None
    assert parts.both.grad.tolist() == [36.5, 145.0], "the whole is where it always was"
    assert parts.idle.grad is None


def test_gradients_add_up() -> None:
    parts = Parts()
    parts.losses().backward()
    parts.losses().backward(0.5)
    assert parts.split() == (times(1.5, KD), times(1.5, REST))


def test_a_part_follows_what_is_done_to_its_whole() -> None:
    parts = Parts()
    parts.losses().backward()
    for parameter, factor in ((parts.both, 4.0), (parts.distillation, 0.5), (parts.task, 0.25)):
        assert parameter.grad is not None
        parameter.grad *= factor
    kd = {"both": [144.0, 576.0], "distillation": [6.0, 24.0]}
    rest = {"both": [2.0, 4.0], "task": [0.25, 0.5], "own": [2.0, 4.0]}
    assert parts.split() == (kd, rest)
    parts.losses().backward()
    for part, more in ((kd, KD), (rest, REST)):
        part |= {
            name: [a + b for a, b in zip(values, more[name], strict=True)] for name, values in part.items()
        }
    assert parts.split() == (kd, rest)
    parts.both.grad = None
    kd.pop("both"), rest.pop("both")
    assert parts.split() == (kd, rest)


def test_a_gradient_of_zero_has_parts_of_zero() -> None:
    parts = Parts()
    with torch.no_grad():
        for parameter in (parts.task, parts.both, parts.distillation):
            parameter.zero_()
    parts.losses().backward()
    distillation, others = parts.split()
    assert distillation == {"both": [0, 0], "distillation": [0, 0]}
    assert others == {"both": [0, 0], "task": [0, 0], "own": [0, 0]}


@pytest.mark.parametrize("set_to_none", [True, False])
def test_clearing_clears_the_parts(set_to_none: bool) -> None:
    parts = Parts()
    parts.losses().backward()
    parts.optimizer.zero_grad(set_to_none)
    if set_to_none:
        assert parts.split() == ({}, {})
    parts.losses().backward()
    assert parts.split() == (KD, REST)


def test_frozen_parameters_are_left_out() -> None:
    parts = Parts()
    parts.both.requires_grad_(False)
    parts.losses().backward()
    assert parts.split() == ({"distillation": KD["distillation"]}, {k: REST[k] for k in ("task", "own")})


def test_gradients_that_came_another_way_cannot_be_split() -> None:
    parts = Parts()
    parts.losses().total.backward()  # type: ignore[no-untyped-call]
    with pytest.raises(
        LimbeckError, match=r"losses\.total\.backward\(\) cannot split the gradient; call losses\."
    ):
        parts.split()


def test_a_method_has_none_unless_it_says_so() -> None:
    assert Method().gradient_rule() is None
