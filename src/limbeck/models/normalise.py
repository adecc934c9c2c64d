"""Each network brings its own normalisation, so that every network takes the same pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError

_MEAN, _STD = "_normalisation_mean", "_normalisation_std"


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation: per image channel (of pixels in [0, 1]) or per feature of a table."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise LimbeckError(
                f"a normalisation needs one mean and one standard deviation a channel, "
                f"not {len(self.mean)} and {len(self.std)}"
            )
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or min(self.std) <= 0:
            raise LimbeckError(
                f"a normalisation needs finite means and finite stds above 0, not {self.mean} and {self.std}"
            )

    @property
    def summary(self) -> str:
        """Its numbers, rounded, for people."""
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"mean {mean}; std {std}"


CIFAR100 = Normalisation((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
"""What the published checkpoints of the CRD benchmark were trained with."""

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What most networks for ImageNet were trained with."""


def normalise_inputs(network: nn.Module, normalisation: Normalisation) -> nn.Module:
    """Makes `network` normalise its first positional input; gives the same network back.

    From then on it takes pixels, floats in [0, 1] or uint8, or raw features: (B, C, ...) with C as in the
    normalisation. Floats keep their dtype, uint8 takes that of the network. Named inputs pass as they are.
    The class and the keys of `state_dict()` stay what they were: a forward pre-hook does it, and its
    constants are non-persistent buffers, which follow the network to its device. Install it before
    `torch.compile`.

    Raises:
        LimbeckError: when the network has a normalisation already.
    """
    if normalisation_of(network) is not None:
        raise LimbeckError(f"this {type(network).__name__} normalises its inputs already; once is enough")
    floats = (parameter.detach() for parameter in network.parameters() if parameter.is_floating_point())
    like = next(floats, torch.empty(0))
    network.register_buffer(_MEAN, like.new_tensor(normalisation.mean), persistent=False)
    network.register_buffer(_STD, like.new_tensor(normalisation.std), persistent=False)
    hook = _Hook(normalisation)
    hook.handle = network.register_forward_pre_hook(hook)
    return network


def normalisation_of(network: nn.Module) -> Normalisation | None:
    """The normalisation that `normalise_inputs` gave the network, or a network inside it, if any."""
    for module in network.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, _Hook):
                return hook.normalisation
    return None


class _Hook:
    """The forward pre-hook.

    It keeps its handle because hooks are pickled under a number that the next process would give away again:
    unpickling the handle reserves it.
    """

    handle: Any = None

    def __init__(self, normalisation: Normalisation) -> None:
        self.normalisation = normalisation

    def __call__(self, network: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or not isinstance(args[0], Tensor):
            return None
        mean, std = network.get_buffer(_MEAN), network.get_buffer(_STD)
        inputs, *rest = args
        if inputs.dim() < 2 or inputs.shape[1] != len(mean):
            raise LimbeckError(
                f"this {type(network).__name__} normalises inputs of shape (B, {len(mean)}, ...), "
                f"and got {tuple(inputs.shape)}"
            )
        if inputs.dtype == torch.uint8:
            inputs = inputs.to(mean.dtype) / 255
        elif not inputs.is_floating_point():
            raise LimbeckError(
                f"this {type(network).__name__} takes pixels as floats in [0, 1] or uint8, not {inputs.dtype}"
            )
        shape = (-1, *(1,) * (inputs.dim() - 2))
        return ((inputs - mean.view(shape)) / std.view(shape)).to(inputs.dtype), *rest
