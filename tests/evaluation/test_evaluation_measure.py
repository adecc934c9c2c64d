from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.evaluation import compare, measure, metrics
from limbeck.outputs import Batch
from limbeck.tasks import Classification


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


TASK = Classification(("a", "b", "c"))


def test_the_metrics_are_those_of_eval_mode() -> None:
    model = network()
    found = metrics(TASK, model, [Batch(X[:7], Y[:7]), Batch(X[7:], Y[7:])])
    logits = model.eval()(X).detach()
    assert found["top1"] == float((logits.argmax(1) == Y).double().mean())
    assert found["nll"] == pytest.approx(float(nn.functional.cross_entropy(logits.double(), Y)), rel=1e-6)


def test_quick_has_the_primary_metric_alone() -> None:
    batches = [Batch(X, Y)]
    quick = measure(TASK, network(), batches, quick=True).compute()
    assert quick == {"top1": metrics(TASK, network(), batches)["top1"]}


def test_a_comparison_of_two_networks() -> None:
    model, other = network(), nn.Linear(4, 3)
    found = compare(TASK, model, other, [Batch(X[:7], Y[:7]), Batch(X[7:])])
    ours, theirs = model.eval()(X).argmax(1), other(X).argmax(1)
    assert found.agreement == float((ours == theirs).double().mean())
    assert compare(TASK, other, other, [Batch(X)]).agreement == 1
    with pytest.raises(LimbeckError, match="no batch to measure on"):
        compare(TASK, model, other, [])


def test_the_network_is_left_as_it_was() -> None:
    model = network()
    model[1].eval()  # somebody froze the statistics
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measure(TASK, model, [Batch(X)])
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_modes_come_back_after_an_error_too() -> None:
    model = network()
    with pytest.raises(RuntimeError):
        measure(TASK, model, [Batch(torch.zeros(2, 5))])
    assert all(module.training for module in model.modules())


def test_a_tensor_the_network_keeps_can_be_trained_on_later() -> None:
    class Caching(nn.Linear):
        kept: Tensor | None = None

        def forward(self, input: Tensor) -> Tensor:
            self.kept = torch.ones(3) * 2 if self.kept is None else self.kept
            return super().forward(input) * self.kept

    model = Caching(4, 3)
    measure(TASK, model, [Batch(X)])
    model(X).sum().backward()
    assert model.weight.grad is not None


def test_named_inputs_and_half_precision() -> None:
    mask = torch.tensor([[1, 1], [1, 0]])
    batch = Batch({"ids": torch.tensor([[2, 3], [4, 5]]), "mask": mask}, torch.tensor([0, 1]))
    assert metrics(Classification(("a", "b")), Named(), [batch])["top1"] == 0.5


def test_an_empty_split_is_an_error() -> None:
    with pytest.raises(LimbeckError, match="no batch to measure on"):
        measure(TASK, network(), [])
