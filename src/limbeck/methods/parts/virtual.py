"""A network as it would answer with other weights, such as those after a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from limbeck.features import FeaturePoints, Tap
from limbeck.features.calling import uncompiled
from limbeck.methods.parts.blocks import averaged, full_precision
from limbeck.outputs import Inputs, Outputs, apply

Weights = Mapping[str, Tensor]
"""Parameters by name, those that learn."""


class Virtual:
    """A network that is asked with weights of others' choice, and keeps its own.

    It runs in the mode that it is in and in float32 at least. Its buffers and the random state are as they
    were afterwards, so what it draws, such as dropout, is drawn alike each time.

    Args:
        network: the network.
        points: where its features are.
        fields: what is read of it beside the logits.
    """

    def __init__(self, network: nn.Module, points: FeaturePoints, fields: Sequence[str] = ()) -> None:
        self._network = _Answering(uncompiled(network), points, fields)

    def weights(self) -> dict[str, Tensor]:
        """The network's own weights, those that learn, as tensors of which a gradient can be asked."""
        return {
            name: full_precision(parameter.detach()).requires_grad_()
            for name, parameter in self._network.named_parameters()
            if parameter.requires_grad
        }

    def logits(self, inputs: Inputs, weights: Weights) -> Tensor:
        """The logits for some inputs, in float32 at least; see `outputs`."""
        return full_precision(self.outputs(inputs, weights).logits)

    def outputs(self, inputs: Inputs, weights: Weights) -> Outputs:
        """The outputs for some inputs.

        Args:
            inputs: as the network takes them.
            weights: what stands in for its own; parameters that do not learn are as they are.
        """
        tensors = [*self._network.named_parameters(), *self._network.named_buffers()]
        state = {name: full_precision(tensor.detach()) for name, tensor in tensors}
        state |= {name: state[name].clone() for name, _ in self._network.named_buffers()}
        state |= weights
        devices = sorted({tensor.get_device() for tensor in state.values() if tensor.is_cuda})
        with torch.random.fork_rng(devices):
            return torch.func.functional_call(self._network, state, (apply(full_precision, inputs),))  # type: ignore[no-any-return]


def gradient(loss: Tensor, weights: Weights) -> dict[str, Tensor]:
    """The gradient of a loss by weights, a mean over all processes; zero for what it does not depend on."""
    own = list(weights.values())
    if loss.requires_grad:
        own = list(torch.autograd.grad(loss, own, allow_unused=True, materialize_grads=True))
    else:  # of no samples
        own = [torch.zeros_like(tensor) for tensor in own]
    return dict(zip(weights, averaged(own), strict=True))


def moved(weights: Weights, direction: Weights, distance: float | Tensor) -> dict[str, Tensor]:
    """The weights some way along a direction, as tensors of which a gradient can be asked."""
    return {
        name: (tensor + distance * direction[name]).detach().requires_grad_()
        for name, tensor in weights.items()
    }


class _Answering(nn.Module):
    """A network whose forward gives its outputs."""

    def __init__(self, network: nn.Module, points: FeaturePoints, fields: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self._tap = Tap(network, points, fields)

    def forward(self, inputs: Inputs) -> Outputs:
        return self._tap(inputs)
