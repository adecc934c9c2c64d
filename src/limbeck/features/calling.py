"""How a network is called, and what is in what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs

Item: TypeAlias = "int | str | None"


def call(network: nn.Module, inputs: Inputs) -> Any:
    """What the network returns for the inputs: a tensor is its one argument, named tensors its keywords."""
    return network(inputs) if isinstance(inputs, Tensor) else network(**inputs)


def uncompiled(network: nn.Module) -> nn.Module:
    """The network itself, where `torch.compile` wrapped it."""
    inner = getattr(network, "_orig_mod", network)
    return inner if isinstance(inner, nn.Module) else network


def elements_of(result: Any) -> dict[Item, Any]:
    """The elements of what a module returned.

    Args:
        result: anything. The elements of a tuple or list go by position, those of a mapping, a dataclass and
            a Hugging Face output object by name; any other object, such as a tensor, is its own element None.
    """
    if isinstance(result, Mapping):
        return dict(result)
    if is_dataclass(result):
        return {field.name: getattr(result, field.name) for field in fields(result)}
    if isinstance(result, (tuple, list)):
        return dict(enumerate(result))
    return {None: result}


def arguments_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[Item, Any]:
    """The arguments a module was called with, by position or keyword; None is the first tensor among them."""
    first = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
    given: dict[Item, Any] = {None: first}
    given.update(enumerate(args))
    given.update(kwargs)
    return given


def logits_of(result: Any) -> Tensor:
    """The logits in what a network returned.

    Args:
        result: a tensor; or a tuple, list, mapping, dataclass or Hugging Face output object: its element named
            `logits`, or else its first floating (B, C) tensor.

    Raises:
        LimbeckError: saying what was returned, if there are none in it.
    """
    if isinstance(result, Tensor):
        if result.is_floating_point() and result.ndim >= 2:
            return result
    else:
        elements = elements_of(result)
        named = elements.get("logits", getattr(result, "logits", None))
        if isinstance(named, Tensor):
            return named
        for element in elements.values():
            if isinstance(element, Tensor) and element.is_floating_point() and element.ndim == 2:
                return element
    raise LimbeckError(
        f"no logits, a floating (B, C) tensor, in what the network returned: {_summary(result)}"
    )


def _summary(result: Any) -> str:
    if isinstance(result, Tensor):
        return f"a {str(result.dtype).removeprefix('torch.')} tensor of shape {tuple(result.shape)}"
    elements = [
        (f"{item}: " if isinstance(item, str) else "")
        + (f"{tuple(element.shape)}" if isinstance(element, Tensor) else type(element).__name__)
        for item, element in elements_of(result).items()
        if item is not None
    ]
    return f"{type(result).__name__}({', '.join(elements)})"
