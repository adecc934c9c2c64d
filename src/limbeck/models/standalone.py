"""A network with all that it computes in modules and buffers, for a life without limbeck."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.models.normalize import normalized, without_normalization
from limbeck.models.rescale import rescaled, without_rescaling

NETWORK = "network."
"""What stands before the network's own keys."""


class Standalone(nn.Module):
    """A network between its normalization and its rescaling, without a hook.

    `torch.jit.trace` and `torch.export` take it, and its `state_dict` holds all that it computes with: the
    network's own keys below `network.`, and beside them the buffers.

    Attributes:
        network: the bare network.
        mean: (C,) of the channels or features, which are normalized before the network; not there where the
            network takes its inputs as they are. So is `std`.
        output_mean: (K,) of the values that the network's answer is rescaled to; not there for classes. So is
            `output_std`.
    """

    mean: Tensor | None
    std: Tensor | None
    output_mean: Tensor | None
    output_std: Tensor | None

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        normalization, rescaling = without_normalization(network), without_rescaling(network)
        floats = (parameter.detach() for parameter in network.parameters() if parameter.is_floating_point())
        like = next(floats, torch.empty(0))
        constants = {
            "mean": normalization and normalization.mean,
            "std": normalization and normalization.std,
            "output_mean": rescaling and rescaling.mean,
            "output_std": rescaling and rescaling.std,
        }
        self.network = network
        for name, values in constants.items():
            self.register_buffer(name, None if values is None else like.new_tensor(values))

    def forward(self, inputs: Tensor | None = None, **named: Tensor) -> Any:
        """The answer to what the network takes, a tensor or named tensors.

        Args:
            inputs: (B, C, ...) pixels, floats in [0, 1] or uint8, or features.
            named: tensors for a network that takes them by name.
        """
        name = type(self.network).__name__
        if inputs is not None and self.mean is not None and self.std is not None:
            inputs = normalized(inputs, self.mean, self.std, name)
        outputs = self.network(**named) if inputs is None else self.network(inputs, **named)
        if self.output_mean is not None and self.output_std is not None:
            outputs = rescaled(outputs, self.output_mean, self.output_std, name)
        return outputs


def standalone(network: nn.Module) -> Standalone:
    """A copy of the network in which its normalization and its rescaling are buffers instead of hooks.

    It answers as the network does, to the bit. What belongs to a module inside the network, such as the
    normalization of a student with a graft on it, stays where it is.

    Args:
        network: stays as it was.
    """
    made = Standalone(copy.deepcopy(network))
    return made.train(network.training)
