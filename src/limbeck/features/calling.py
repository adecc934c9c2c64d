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
from limbeck.features.documents import arguments_for
from limbeck.outputs import Inputs, Mixture, apply

Item: TypeAlias = "int | str | None"


def call(network: nn.Module, inputs: Inputs) -> Any:
    """What the network returns for the inputs: a tensor is its one argument, named tensors its keywords.

    A network in float64, float16 or bfloat16 gets its inputs in that precision. Of a `Mixture` it mixes the
    embeddings, for which it runs as it was before `torch.compile`.

    Raises:
        LimbeckError: for a mixture, if the network has no embedding that is called with the token ids.
    """
    if (dtype := precision_of(network)) != torch.float32:
        inputs = apply(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor, inputs)
    if isinstance(inputs, Mixture):
        network = uncompiled(network)
        with _mixing(network, inputs):
            return call(network, inputs.inputs)
    if isinstance(inputs, Tensor):
        return network(inputs)
    return network(**arguments_for(uncompiled(network), inputs))


@contextmanager
def _mixing(network: nn.Module, mixture: Mixture) -> Iterator[None]:
    """A context in which all embeddings that are called with the ids of a mixture give the mixed ones."""
    mixed: list[nn.Module] = []

    def mix(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Any:
        ids, given = arguments_of(args, kwargs)[None], mixture.given
        if ids is None or ids.shape != given.shape or not torch.equal(ids.to(given.dtype), given):
            return None  # positions or types of tokens
        mixed.append(module)
        first, second = (module.forward(each) for each in mixture.ids.unbind(1))
        ours, theirs = mixture.shares.to(output.dtype).unsqueeze(-1).unbind(1)
        return ours * first + theirs * second

    handles = [
        module.register_forward_hook(mix, prepend=True, with_kwargs=True)
        for module in network.modules()
        if isinstance(module, nn.Embedding)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if not mixed:
        raise LimbeckError(
            f"found no embedding of tokens to mix in {type(network).__name__}: no nn.Embedding of it is "
            "called with the token ids as it is given them; use a method that mixes no texts, such as kd"
        )


def precision_of(network: nn.Module) -> torch.dtype:
    """The precision of the network's weights; float32 if it has none."""
    for each in network.parameters():  # torch 2.8 does not compile next(..., default)
        if each.is_floating_point():
            return each.dtype
    return torch.float32


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
    given: dict[Item, Any] = {None: None}
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):  # torch 2.8 does not compile next(..., default)
            given[None] = value
            break
    given.update(enumerate(args))
    given.update(kwargs)
    return given


def version_of(tensor: Tensor) -> int:
    """How often the tensor was written over in place; 0 where torch does not count."""
    return 0 if tensor.is_inference() else tensor._version


def element_of(result: Any, item: Item) -> Any:
    """One element of what a module returned, by its position or name; None where there is no such element.

    Args:
        result: what the module returned.
        item: the element, as `elements_of` names it; the fields of a named tuple and the attributes of any
            other object go by name, too.
    """
    elements = elements_of(result)
    if item in elements or not isinstance(item, str):
        return elements.get(item)
    return None if isinstance(result, Tensor) else getattr(result, item, None)


def opaque(network: nn.Module) -> str | None:
    """What a network is called whose inside cannot be seen: "a TorchScript program"; None for any other."""
    if isinstance(network, torch.jit.ScriptModule):
        return "a TorchScript program"
    if isinstance(network, torch.fx.GraphModule) and any(
        isinstance(node.target, torch._ops.OpOverload) for node in network.graph.nodes
    ):
        return "an exported program"
    return None


def set_mode(network: nn.Module, training: bool) -> None:
    """Puts a network in training or eval mode; an exported program, which has one mode, keeps that."""
    try:
        network.train() if training else network.eval()
    except NotImplementedError:
        for module in network.modules():
            module.training = training


@contextmanager
def undisturbed(network: nn.Module, inputs: Inputs, *, training: bool = False) -> Iterator[None]:
    """Eval mode inside; afterwards modes, buffers and random state are what they were.

    Args:
        network: the network that runs inside.
        inputs: what it runs on.
        training: training mode inside instead; parts that are in eval mode while the network is not, such as
            frozen normalizations, stay in it.
    """
    modes = [(module, module.training) for module in network.modules()]
    # Nothing can have been compiled, and needs running as written, unless the compiler was ever imported.
    compiled = "torch._dynamo" in sys.modules
    eager = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    with undone(network, inputs), eager:
        try:
            if not (training and network.training):
                set_mode(network, training)
            yield
        finally:
            for module, mode in modes:
                module.training = mode


@contextmanager
def undone(network: nn.Module, inputs: Inputs) -> Iterator[list[str]]:
    """What a forward changes, buffers and random state, is afterwards as it was.

    Yields: a list that holds, afterwards, the names of the buffers that were changed inside.
    """
    changed: list[str] = []
    buffers = [
        (module._buffers, f"{path}.{name}".lstrip("."), name, buffer, buffer.clone())
        for path, module in network.named_modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    tensors = chain(
        network.parameters(), network.buffers(), [inputs] if isinstance(inputs, Tensor) else inputs.values()
    )
    devices = sorted({tensor.get_device() for tensor in tensors if tensor.is_cuda})
    with torch.random.fork_rng(devices):
        try:
            yield changed
        finally:
            for table, full_name, name, buffer, value in buffers:
                written = table[name] is not buffer
                table[name] = buffer
                # Not by its version: batch norm does not count what it writes to its statistics.
                if not buffer.is_meta and not torch.equal(buffer, value):
                    written = True
                    with torch.no_grad():
                        buffer.copy_(value)
                if written:
                    changed.append(full_name)
