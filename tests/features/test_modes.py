"""Networks that return something else in training mode than in eval mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import Point, Tap, find

X = torch.randn(4, 6)


class Named(NamedTuple):
    """As torchvision's GoogLeNet and Inception return in training mode."""

    logits: Tensor
    aux_logits: Tensor


class Net(nn.Module):
    """A head and an auxiliary head, arranged by a function for each mode."""

    def __init__(self, training: Callable[[Any], Any], evaluated: Callable[[Any], Any]) -> None:
        super().__init__()
        self.body, self.norm = nn.Linear(6, 8), nn.BatchNorm1d(8)
        self.fc, self.aux = nn.Linear(8, 5), nn.Linear(8, 5)
        self.drop = nn.Dropout(0.5)
        self.arranged = {True: training, False: evaluated}

    def forward(self, x: Tensor) -> Any:
        self.features = self.norm(self.body(x)).relu()
        self.main, self.other = self.fc(self.drop(self.features)), self.aux(self.features)
        return self.arranged[self.training](self)


CASES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Point | None]] = {
    "auxiliary heads in training": (
        lambda n: Named(n.main, n.other),
        lambda n: n.main,
        Point("", item=0),
    ),
    "the auxiliary head first": (lambda n: (n.other, n.main), lambda n: n.main, Point("", item=1)),
    "the order changes": (
        lambda n: {"a": n.other, "out": n.main},
        lambda n: {"out": n.main, "aux": n.other},
        None,
    ),
    "the names change": (
        lambda n: {"logits": n.other, "final": n.main},
        lambda n: {"logits": n.main},
        Point("", item="final"),
    ),
    "features in eval mode": (lambda n: n.main, lambda n: (n.features[..., None], n.main), Point("")),
    "scaled in eval mode": (lambda n: (n.other, n.main), lambda n: 2 * n.main, Point("", item=1)),
    "the same twice": (lambda n: (n.main, n.main.softmax(1)), lambda n: n.main, None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_head_of_eval_mode_is_taken_in_training_mode_too(case: str) -> None:
    training, evaluated, expected = CASES[case]
    network = Net(training, evaluated)
    if case == "the same twice":
        with pytest.raises(
            LimbeckError, match=r"Net in training mode returns may be its logits: \[0\] .* \[1\]"
        ):
            find(network, X)
        return
    points = find(network, X)
    assert points.training_logits == expected
    tap = Tap(network, points, ())
    assert tap(X).logits is network.main
    network.eval()
    found = tap(X).logits
    assert torch.equal(found, 2 * network.main if "scaled" in case else network.main)


def test_a_bare_tensor_in_both_modes_is_what_the_network_says_it_is() -> None:
    network = Net(lambda n: n.other, lambda n: n.main)
    points = find(network, X)
    assert points.logits == Point("")
    assert points.training_logits is None


def test_heads_that_are_averaged_in_eval_mode_are_no_one_heads_logits() -> None:
    network = Net(lambda n: (n.main, n.other), lambda n: (n.main + n.other) / 2)
    with pytest.raises(
        LimbeckError, match=r"in training mode .*: tuple\(.*\), none .* \(aux and fc\).*\"aux\""
    ):
        find(network, X)
    points = find(network, X, overrides={"logits": "fc"})
    assert Tap(network, points, ())(X).logits is network.main


def test_other_outputs_in_training_mode_alone_are_refused() -> None:
    network = Net(lambda n: n.features, lambda n: n.main)
    with pytest.raises(LimbeckError, match=r"Net returns other outputs in training mode .*\(2, 8\).* \(fc\)"):
        find(network, X)
    assert find(network, X, training=False).training_logits is None
    assert find(network.eval(), X).training_logits is None
    with pytest.raises(LimbeckError, match="other outputs in training mode"):
        find(network, X, training=True)


def test_a_network_is_looked_at_in_training_mode_and_left_as_it_was() -> None:
    network = Net(lambda n: Named(n.main, n.other), lambda n: n.main).train()
    network.norm.eval()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    find(network, X)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert network.training
    assert not network.norm.training
    network.eval()
    assert find(network, X, training=True).training_logits == Point("", item=0)
    assert not any(module.training for module in network.modules())


def test_what_was_not_looked_at_is_refused_and_not_given_wrong() -> None:
    network = Net(lambda n: n.other, lambda n: (n.features, n.main)).eval()
    points = find(network, X, width=5)
    network.train()
    with pytest.raises(
        LimbeckError, match=r"the logits of Net are \[1\] of what .* in this mode it returned a float"
    ):
        Tap(network, points, ())(X)
    swapped = Net(lambda n: (n.other, n.main), lambda n: n.main).eval()
    points = find(swapped, X)
    swapped.train()
    with pytest.raises(LimbeckError, match=r"Net returns may be its logits: \[0\]"):
        Tap(swapped, points, ())(X)
