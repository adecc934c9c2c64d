"""A network whose answer is read otherwise: its outputs in another order, or logits of its probabilities."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features.calling import Item, element_of
from limbeck.features.logits import logits_item

Choice: TypeAlias = Literal["one", "each"]
"""What probabilities are of: "one" of all outputs is true, or "each" by itself."""

_HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called")


def reordered(network: nn.Module, order: Sequence[int], width: int) -> nn.Module:
    """The network with some of its outputs, in another order.

    Args:
        network: stays as it is; what is returned shares its modules, weights and paths with it.
        order: (C,) position among the network's outputs of each output of what is returned.
        width: how many outputs the network has.
    """
    return _hooked(network, _Order(tuple(order), width))


def order_of(network: nn.Module) -> tuple[int, ...] | None:
    """The order that `reordered` gave the network; None if it answers as it was made."""
    hooks = (hook for hook in network._forward_hooks.values() if isinstance(hook, _Order))
    return next((hook.order for hook in hooks), None)


def as_logits(network: nn.Module, choice: Choice) -> nn.Module:
    """A network that answers with logits, made of one that answers with probabilities.

    Args:
        network: stays as it is; what is returned shares its modules, weights and paths with it.
        choice: "one" for probabilities of a softmax, which become their logarithms; "each" for those of
            sigmoids, which become log(p / (1 - p)).
    """
    return _hooked(network, _Logits(choice))


def probabilities(outputs: Tensor) -> tuple[bool, bool]:
    """Whether all of a network's outputs lie in [0, 1], and whether those of each decision also sum to 1.

    Args:
        outputs: (B, C), (B, C, H, W) or (B, L, C).
    """
    axis = 1 if outputs.ndim > 3 else -1
    within = bool(((outputs >= 0) & (outputs <= 1)).all())
    exact = torch.finfo(outputs.dtype).eps < 1e-5
    sums = outputs.float().sum(axis)
    return within, within and bool((sums - 1).abs().max() < (1e-3 if exact else 2e-2))


def _hooked(network: nn.Module, hook: _Hook) -> nn.Module:
    """A module with the same parts and a further hook of its own."""
    made: nn.Module
    if isinstance(network, torch.jit.ScriptModule):
        made = copy.copy(network)
    else:
        made = type(network).__new__(type(network))
        made.__dict__ = dict(network.__dict__)
    for name in _HOOKS:
        made.__dict__[name] = OrderedDict(network.__dict__[name])
    made.register_forward_hook(hook)
    return made


class _Hook:
    """A forward hook that exchanges the logits in what a network returns."""

    width: int | None = None

    def __call__(self, network: nn.Module, args: tuple[Any, ...], result: Any) -> Any:
        item = logits_item(result, width=self.width, whose=type(network).__name__)
        return _exchanged(result, item, self.of(element_of(result, item), type(network).__name__))

    def of(self, logits: Tensor, whose: str) -> Tensor:
        """What stands for the logits (B, C), (B, C, H, W) or (B, L, C)."""
        raise NotImplementedError


class _Order(_Hook):
    def __init__(self, order: tuple[int, ...], width: int) -> None:
        self.order, self.width = order, width
        self._index = torch.tensor(order)

    def of(self, logits: Tensor, whose: str) -> Tensor:
        axis = 1 if logits.ndim > 3 else -1
        if logits.shape[axis] != self.width:
            raise LimbeckError(
                f"{whose} should have {self.width} outputs, by their names, and it answers in the shape "
                f"{tuple(logits.shape)}"
            )
        self._index = self._index.to(logits.device)
        return logits.index_select(axis, self._index)


class _Logits(_Hook):
    def __init__(self, choice: Choice) -> None:
        self.choice = choice

    def of(self, logits: Tensor, whose: str) -> Tensor:
        given = logits.to(torch.promote_types(logits.dtype, torch.float32))
        smallest = torch.finfo(given.dtype).tiny
        if self.choice == "one":
            return given.clamp(min=smallest).log()
        return given.clamp(min=smallest).log() - (1 - given).clamp(min=smallest).log()


def _exchanged(result: Any, item: Item, tensor: Tensor) -> Any:
    """What a network returned with another tensor for one of its elements."""
    if item is None:
        return tensor
    if isinstance(result, Mapping):
        made: Any = copy.copy(result)
        made[item] = tensor
        return made
    if is_dataclass(result) and not isinstance(result, type):
        return replace(result, **{str(item): tensor})
    if isinstance(result, tuple) and hasattr(result, "_replace"):
        name = item if isinstance(item, str) else result._fields[item]  # type: ignore[attr-defined]
        return result._replace(**{name: tensor})
    if isinstance(result, (tuple, list)) and isinstance(item, int):
        elements = [*result[:item], tensor, *result[item + 1 :]]
        return tuple(elements) if isinstance(result, tuple) else elements
    made = copy.copy(result)
    setattr(made, str(item), tensor)
    return made
