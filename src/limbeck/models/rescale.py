"""A network that learns values brings their scale, so that it answers in the units of the targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.models.constants import MeanAndStd

_MEAN, _STD = "_rescaling_mean", "_rescaling_std"


@dataclass(frozen=True)
class Rescaling(MeanAndStd):
    """Mean and standard deviation of the training targets, one for each output of the network."""

    def __post_init__(self) -> None:
        self.check("a rescaling", "for each output")

    @classmethod
    def of(cls, targets: Tensor) -> Rescaling:
        """The rescaling to some targets; a standard deviation of 0 counts as 1.

        Args:
            targets: (N, K) values; NaN where there is none.
        Raises:
            LimbeckError: if an output has no target at all.
        """
        values = targets.double()
        mean = values.nanmean(0)
        std = (values - mean).square().nanmean(0).sqrt()
        return cls(tuple(mean.tolist()), tuple(std.masked_fill(std == 0, 1.0).tolist()))


def rescale_outputs(network: nn.Module, rescaling: Rescaling) -> nn.Module:
    """Makes `network` answer mean + std * z where it computed z; gives the same network back.

    It returns one tensor (B, ..., K) with K as in the rescaling, in the wider of its own type and that of the
    network's weights, so that autocast loses nothing. The class and the keys of `state_dict()` stay what they
    were: a forward hook does it, and its constants are non-persistent buffers, which follow the network to
    its device. Install it before `torch.compile`.

    Raises:
        LimbeckError: if the network has a rescaling already.
    """
    if rescaling_of(network) is not None:
        raise LimbeckError(f"this {type(network).__name__} rescales its outputs already; once is enough")
    rescaling.put_on(network, (_MEAN, _STD))
    hook = _Hook(rescaling)
    hook.handle = network.register_forward_hook(hook)
    return network


def rescaling_of(network: nn.Module) -> Rescaling | None:
    """The rescaling that `rescale_outputs` gave the network, or a network inside it; None without one."""
    hooks = (hook for module in network.modules() for hook in module._forward_hooks.values())
    return next((hook.rescaling for hook in hooks if isinstance(hook, _Hook)), None)


def without_rescaling(network: nn.Module) -> Rescaling | None:
    """Takes the rescaling off the network itself and gives it back; one of a module inside it stays."""
    for hook in network._forward_hooks.values():
        if isinstance(hook, _Hook):
            hook.handle.remove()
            delattr(network, _MEAN)
            delattr(network, _STD)
            return hook.rescaling
    return None


def rescaled(outputs: Tensor, mean: Tensor, std: Tensor, name: str) -> Tensor:
    """The outputs (B, ..., K) in the units of the targets.

    Args:
        outputs: outputs of the network, with mean 0 and standard deviation 1 where they are as the targets.
        mean: (K,) of the targets.
        std: (K,) of the targets.
        name: name of the network's class, for messages.
    Raises:
        LimbeckError: for another number of outputs.
    """
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if not tracing and outputs.shape[-1] != mean.shape[0]:
        raise LimbeckError(
            f"this {name} rescales {mean.shape[0]} outputs, and its answer is of shape {tuple(outputs.shape)}"
        )
    return outputs * std + mean


class _Hook:
    """The forward hook; it keeps its handle for the reason that the hook of a normalization does."""

    handle: Any = None

    def __init__(self, rescaling: Rescaling) -> None:
        self.rescaling = rescaling

    def __call__(self, network: nn.Module, args: tuple[Any, ...], outputs: Any) -> Tensor:
        name = type(network).__name__
        if not isinstance(outputs, Tensor):
            raise LimbeckError(
                f"limbeck rescales the answer of a network that returns one tensor, and this {name} returned "
                f"a {type(outputs).__name__}; have it return its values alone"
            )
        return rescaled(outputs, getattr(network, _MEAN), getattr(network, _STD), name)
