"""How a network is called, and what is in what it returns."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass
from itertools import chain
from typing import Any, TypeAlias

import torch
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


def version_of(tensor: Tensor) -> int:
    """How often the tensor was written over in place; 0 where torch does not count."""
    return 0 if tensor.is_inference() else tensor._version


def logits_of(result: Any) -> Tensor:
    """The logits in what a network returned.

    Args:
        result: a tensor; or a tuple, list, mapping, dataclass or Hugging Face output object, whose element
            named `logits` is meant, or else its first floating (B, C) tensor.

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


@contextmanager
def undisturbed(network: nn.Module, inputs: Inputs) -> Iterator[None]:
    """Eval mode inside; afterwards modes, buffers and random state are what they were."""
    modes = [(module, module.training) for module in network.modules()]
    # Nothing can have been compiled, and needs running as written, unless the compiler was ever imported.
    compiled = "torch._dynamo" in sys.modules
    eager = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    with undone(network, inputs), eager:
        try:
            network.eval()
            yield
        finally:
            for module, mode in modes:
                module.training = mode


@contextmanager
def undone(network: nn.Module, inputs: Inputs) -> Iterator[None]:
    """What a forward changes, buffers and random state, is afterwards as it was."""
    buffers = [
        (module._buffers, name, buffer, buffer.clone())
        for module in network.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    tensors = chain(
        network.parameters(), network.buffers(), [inputs] if isinstance(inputs, Tensor) else inputs.values()
    )
    devices = sorted({tensor.get_device() for tensor in tensors if tensor.is_cuda})
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            for table, name, buffer, value in buffers:
                table[name] = buffer
                # Not by its version: batch norm does not count what it writes to its statistics.
                if not buffer.is_meta and not torch.equal(buffer, value):
                    with torch.no_grad():
                        buffer.copy_(value)
