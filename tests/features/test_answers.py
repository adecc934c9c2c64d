from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from limbeck.features import as_logits, find, order_of, probabilities, reordered


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


class Named(nn.Module):
    def forward(self, inputs: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict(hidden=inputs * 2, logits=inputs[:, :3])


class TestReordered:
    def test_outputs_are_in_the_order_given_and_the_network_stays_as_it_was(self) -> None:
        plain, inputs = network(), torch.rand(6, 4)
        before = plain(inputs)
        made = reordered(plain, (2, 0), 3)
        assert torch.equal(made(inputs), before[:, [2, 0]])
        assert torch.equal(plain(inputs), before)
        assert order_of(made) == (2, 0)
        assert order_of(plain) is None

    def test_weights_paths_and_features_are_the_networks(self) -> None:
        plain = network()
        made = reordered(plain, (1, 2, 0), 3)
        assert next(made.parameters()) is next(plain.parameters())
        assert [path for path, _ in made.named_modules()] == [path for path, _ in plain.named_modules()]
        assert find(made, torch.rand(2, 4)).embedding == find(plain, torch.rand(2, 4)).embedding

    def test_the_named_logits_of_several_outputs(self) -> None:
        inputs = torch.rand(2, 4)
        found = reordered(Named(), (1, 0, 2), 3)(inputs)
        assert torch.equal(found["logits"], inputs[:, [1, 0, 2]])
        assert torch.equal(found["hidden"], inputs * 2)


class TestAsLogits:
    def test_of_a_softmax(self) -> None:
        plain, inputs = network(), torch.rand(6, 4)
        found = as_logits(nn.Sequential(plain, nn.Softmax(1)), "one")(inputs)
        torch.testing.assert_close(found, plain(inputs).log_softmax(1))

    def test_of_sigmoids(self) -> None:
        plain, inputs = network(), torch.rand(6, 4)
        found = as_logits(nn.Sequential(plain, nn.Sigmoid()), "each")(inputs)
        torch.testing.assert_close(found, plain(inputs), rtol=1e-4, atol=1e-5)

    def test_certainty_stays_finite(self) -> None:
        found = as_logits(nn.Identity(), "one")(torch.tensor([[0.0, 1.0]]))
        assert found.isfinite().all()
        assert found[0, 1] == 0


def test_probabilities() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.25]])
    assert probabilities(logits) == (False, False)
    assert probabilities(logits.sigmoid()) == (True, False)
    assert probabilities(logits.softmax(1)) == (True, True)
