from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.features import find
from limbeck.methods.parts.virtual import Virtual, gradient, moved


class Net(nn.Module):
    """A frozen layer, batch norm, dropout and a layer that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(3, 4).requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.5)
        self.unused = nn.Linear(1, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.dropout(self.norm(self.frozen(inputs))))  # type: ignore[no-any-return]


def made() -> tuple[Net, Virtual, Tensor]:
    torch.manual_seed(0)
    network, inputs = Net(), torch.rand(6, 3)
    return network, Virtual(network, find(network, inputs)), inputs


def test_with_its_own_weights_it_answers_as_the_network_and_leaves_it_alone() -> None:
    network, virtual, inputs = made()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    logits = virtual.logits(inputs, virtual.weights())
    assert torch.equal(logits, virtual.logits(inputs, virtual.weights())), "dropout is drawn alike"
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    torch.testing.assert_close(logits, network(inputs))
    assert not torch.equal(before["norm.running_mean"], network.norm.running_mean)  # type: ignore[arg-type]


def test_a_step_along_the_gradient_is_that_of_sgd() -> None:
    network, virtual, inputs = made()
    weights = virtual.weights()
    assert {name.removeprefix("network.") for name in weights} == {
        name for name, parameter in network.named_parameters() if parameter.requires_grad
    }
    found = gradient(virtual.logits(inputs, weights).square().sum(), weights)
    assert all(parameter.grad is None for parameter in network.parameters())
    after = virtual.logits(inputs, moved(weights, found, -0.1))
    random = torch.get_rng_state()
    network(inputs).square().sum().backward()
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[f"network.{name}"], parameter.grad)
    assert found["network.unused.weight"].eq(0).all()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    torch.set_rng_state(random)
    torch.testing.assert_close(after, network(inputs))


def test_half_precision_is_computed_in_full() -> None:
    network, virtual, inputs = made()
    network.eval().to(torch.bfloat16)
    weights = virtual.weights()
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    logits = virtual.logits(inputs.bfloat16(), weights)
    assert torch.equal(logits, network.float()(inputs.bfloat16().float()))
