"""Each network brings its own normalization, so that every network takes the same pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.models.constants import MeanAndStd

_MEAN, _STD = "_normalization_mean", "_normalization_std"


@dataclass(frozen=True)
class Normalization(MeanAndStd):
    """Mean and standard deviation: per image channel (of pixels in [0, 1]) or per feature of a table."""

    def __post_init__(self) -> None:
        self.check("a normalization", "a channel")

    @property
    def summary(self) -> str:
        """Its numbers, rounded, for people."""
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return f"mean {mean}; std {std}"


CIFAR100 = Normalization((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
"""What the published checkpoints of the CRD benchmark were trained with."""

IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""What most networks for ImageNet were trained with."""


def normalize_inputs(network: nn.Module, normalization: Normalization) -> nn.Module:
    """Makes `network` normalize its first positional input; gives the same network back.

    From then on it takes pixels, floats in [0, 1] or uint8, or raw features: (B, C, ...) with C as in the
    normalization. Floats keep their dtype, uint8 takes that of the network. Named inputs pass as they are.
    The class and the keys of `state_dict()` stay what they were: a forward pre-hook does it, and its
    constants are non-persistent buffers, which follow the network to its device. Install it before
    `torch.compile`.

    Raises:
        LimbeckError: when the network has a normalization already.
    """
    if normalization_of(network) is not None:
        raise LimbeckError(f"this {type(network).__name__} normalizes its inputs already; once is enough")
    normalization.put_on(network, (_MEAN, _STD))
    hook = _Hook(normalization)
    hook.handle = network.register_forward_pre_hook(hook)
    return network


def normalization_of(network: nn.Module) -> Normalization | None:
    """The normalization that `normalize_inputs` gave the network, or a network inside it, if any."""
    for module in network.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, _Hook):
                return hook.normalization
    return None


def without_normalization(network: nn.Module) -> Normalization | None:
    """Takes the normalization off the network itself and gives it back; one of a module inside it stays."""
    for hook in network._forward_pre_hooks.values():
        if isinstance(hook, _Hook):
            hook.handle.remove()
            delattr(network, _MEAN)
            delattr(network, _STD)
            return hook.normalization
    return None


def normalized(inputs: Tensor, mean: Tensor, std: Tensor, name: str) -> Tensor:
    """The inputs less the mean, over the standard deviation; floats keep their type.

    Args:
        inputs: (B, C, ...) pixels, floats in [0, 1] or uint8, or features.
        mean: (C,) of the channels or features.
        std: (C,) of the channels or features.
        name: name of the network's class, for messages.
    Raises:
        LimbeckError: for another number of channels, and for integers other than uint8.
    """
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    fits = tracing or (inputs.dim() >= 2 and inputs.shape[1] == mean.shape[0])
    if not fits:
        raise LimbeckError(
            f"this {name} normalizes inputs of shape (B, {mean.shape[0]}, ...), and got {tuple(inputs.shape)}"
        )
    if inputs.dtype == torch.uint8:
        inputs = inputs.to(mean.dtype) / 255
    elif not inputs.is_floating_point():
        raise LimbeckError(f"this {name} takes pixels as floats in [0, 1] or uint8, not {inputs.dtype}")
    shape = (-1, *(1,) * (inputs.dim() - 2))
    return ((inputs - mean.view(shape)) / std.view(shape)).to(inputs.dtype)


class _Hook:
    """The forward pre-hook.

    It keeps its handle because hooks are pickled under a number that the next process would give away again:
    unpickling the handle reserves it.
    """

    handle: Any = None

    def __init__(self, normalization: Normalization) -> None:
        self.normalization = normalization

    def __call__(self, network: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or not isinstance(args[0], Tensor):
            return None
        inputs, *rest = args
        mean, std = getattr(network, _MEAN), getattr(network, _STD)  # torch 2.8 does not compile get_buffer
        return normalized(inputs, mean, std, type(network).__name__), *rest
