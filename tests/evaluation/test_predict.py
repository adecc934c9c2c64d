from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.evaluation import predict
from limbeck.outputs import Batch


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


class Named(nn.Module):
    """Takes named tensors, as a token model does."""

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return torch.stack([(ids * mask).sum(1), mask.sum(1)], dim=1).to(torch.float16)


X = torch.randn(10, 4, generator=torch.Generator().manual_seed(1))
Y = torch.arange(10) % 3


def test_logits_are_those_of_eval_mode_in_order() -> None:
    model = network()
    predictions = predict(model, [Batch(X[:7], Y[:7]), Batch(X[7:], Y[7:])])
    model.eval()
    torch.testing.assert_close(predictions.logits, model(X).detach())
    assert predictions.targets is not None
    assert predictions.targets.tolist() == Y.tolist()
    assert not predictions.logits.requires_grad


def test_the_network_is_left_as_it_was() -> None:
    model = network()
    model[1].eval()  # somebody froze the statistics
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predict(model, [Batch(X)])
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_modes_come_back_after_an_error_too() -> None:
    model = network()
    with pytest.raises(RuntimeError):
        predict(model, [Batch(torch.zeros(2, 5))])
    assert all(module.training for module in model.modules())


def test_a_tensor_the_network_keeps_can_be_trained_on_later() -> None:
    class Caching(nn.Linear):
        kept: Tensor | None = None

        def forward(self, input: Tensor) -> Tensor:
            self.kept = torch.ones(3) * 2 if self.kept is None else self.kept
            return super().forward(input) * self.kept

    model = Caching(4, 3)
    predict(model, [Batch(X)])
    model(X).sum().backward()
    assert model.weight.grad is not None


def test_named_inputs_and_half_precision() -> None:
    mask = torch.tensor([[1, 1], [1, 0]])
    predictions = predict(Named(), [Batch({"ids": torch.tensor([[2, 3], [4, 5]]), "mask": mask})])
    assert predictions.logits.dtype == torch.float32
    assert predictions.logits.tolist() == [[5.0, 2.0], [4.0, 1.0]]


def test_without_labels_and_with_some() -> None:
    model = network()
    assert predict(model, [Batch(X), Batch(X)]).targets is None
    mixed = predict(model, [Batch(X[:2], Y[:2]), Batch(X[2:4])]).targets
    assert mixed is not None
    assert mixed.tolist() == [0, 1, -100, -100]


def test_an_empty_split_is_an_error() -> None:
    with pytest.raises(LimbeckError, match="no batch to predict"):
        predict(network(), [])
