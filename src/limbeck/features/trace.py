"""One forward of a network, written down: which tensor came from which, and which modules they passed.

It sees torch's functions and not only modules, so functional code (`F.relu`, `+`, `flatten`) is in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from limbeck.errors import LimbeckError
from limbeck.features.calling import (
    arguments_of,
    call,
    element_of,
    elements_of,
    opaque,
    undisturbed,
    version_of,
)
from limbeck.features.points import Point
from limbeck.features.values import ModuleCall, Value, channels_last
from limbeck.outputs import Inputs, apply, size_of

_PRODUCTS = (
    *("linear", "bilinear", "matmul", "__matmul__", "__rmatmul__", "mm", "bmm", "addmm", "baddbmm", "einsum"),
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    *("embedding", "embedding_bag", "lstm", "gru", "multi_head_attention_forward", "tensordot", "cdist"),
)


class Seen(NamedTuple):
    """A tensor at a point: its version then, and its value (None where it does not depend on the input)."""

    tensor: Tensor
    version: int
    value: Value | None


class Trace(TorchFunctionMode):
    """One forward of a network on the example, which leaves the network as it was.

    Of a network whose inside cannot be seen, such as a TorchScript program, only the result is written down.

    Args:
        network: the network, which is called once.
        example: inputs of a few samples, on the network's device.
        training: training mode instead of eval mode.

    Attributes:
        network: the network.
        result: what the network returned.
        batch: how many samples went in.
        calls: the module calls in the order they began, the network's own first.
        seen: every tensor that a module was given or returned, by point.
    """

    def __init__(self, network: nn.Module, example: Inputs, *, training: bool = False) -> None:
        super().__init__()
        self.network = network
        self.calls: list[ModuleCall] = []
        self.seen: dict[Point, Seen] = {}
        self._values: dict[tuple[int, int], Value] = {}  # by id and version of the tensor
        self._latest: dict[int, Value] = {}  # by address of the storage
        self._alive: list[Tensor] = []  # so that ids and addresses stay theirs
        self._running: list[ModuleCall] = []
        self._entered: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        self.batch = size_of(example)
        with undisturbed(network, example, training=training), torch.no_grad(), self._hooked(network):
            self._add(_data(example), Value(0, ()))
            with nullcontext() if opaque(network) else self:
                self.result = call(network, example)

    @property
    def name(self) -> str:
        """Its class, for messages."""
        return type(self.network).__name__

    def at(self, point: Point) -> Seen | None:
        """What there was at a point; None if there was no tensor."""
        seen = self.seen.get(point)
        if seen is None and point.is_result and not point.call:
            tensor = element_of(self.result, point.item)
            if isinstance(tensor, Tensor):
                return Seen(tensor, version_of(tensor), self.value_of(tensor))
        return seen

    def marked(self, point: Point) -> Point:
        """The point, marked if what was there is overwritten in place later, and if it was (B, H, W, C)."""
        seen = self.seen.get(replace(point, pool=False))
        if seen is None:
            return point
        written, value = version_of(seen.tensor) != seen.version, seen.value
        last = value is not None and value.channels_last and len(value.positions) > 1
        return replace(point, overwritten=written, channels_last=last)

    def value_of(self, tensor: Tensor) -> Value | None:
        """The value a tensor holds now; None if it does not depend on the input."""
        value = self._values.get((id(tensor), version_of(tensor)))
        written = None if value else self._latest.get(_address(tensor))  # through another view of its storage
        return self._add(tensor, Value(0, (), "alias", (written,))) if written else value

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs a torch function and writes down what it made of the input."""
        kwargs = kwargs or {}
        tensors = _tensors((args, kwargs))
        versions = [version_of(tensor) for tensor in tensors]
        values = {id(tensor): value for tensor in tensors if (value := self.value_of(tensor))}
        result = func(*args, **kwargs)
        if not values:
            return result
        name = str(getattr(func, "__name__", ""))
        if "dropout" in name:
            result = result.view_as(result)  # eval mode drops nothing, but it is a value of its own
        # Beside floats, whole numbers only say which to pick, and truth values are masks in any case.
        floats = [
            values[id(tensor)] for tensor in tensors if id(tensor) in values and tensor.is_floating_point()
        ]
        weights = [t for t in tensors if id(t) not in values and t.is_floating_point() and t.ndim >= 2]
        made = Value(
            index=0,
            shape=(),
            operation=name,
            sources=tuple(dict.fromkeys(floats or values.values())),
            weight=tuple(weights[0].shape) if weights and name in _PRODUCTS else None,
            module=self._running[-1] if self._running else None,
        )
        written = [t for t, version in zip(tensors, versions, strict=True) if version_of(t) != version]
        for tensor in chain(_tensors(result), written):
            if (id(tensor), version_of(tensor)) not in self._values and tensor.dtype is not torch.bool:
                self._add(tensor, made)
        return result

    def _add(self, tensor: Tensor, value: Value) -> Value:
        shape = tuple(tensor.shape)
        last = channels_last(value.operation, shape, value.sources)
        value = replace(value, index=len(self._alive), shape=shape, channels_last=last, points=[])
        self._alive.append(tensor)
        self._values[id(tensor), version_of(tensor)] = value
        self._latest[_address(tensor)] = value
        return value

    @contextmanager
    def _hooked(self, network: nn.Module) -> Iterator[None]:
        with ExitStack() as stack:
            for path, module in network.named_modules():
                if opaque(network) or isinstance(module, torch.jit.ScriptModule):
                    continue  # hooks cannot see into it, and some kinds refuse them
                enter, leave = partial(self._enter, path), partial(self._leave, path)
                stack.enter_context(module.register_forward_pre_hook(enter, with_kwargs=True))
                stack.enter_context(module.register_forward_hook(leave))
            yield

    def _enter(self, path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = ModuleCall(path, module, start=len(self._alive))
        point = Point(path, "input", call=self._entered[path])
        for item, argument in arguments_of(args, kwargs).items():
            if isinstance(argument, Tensor):
                call.inputs += self._see(replace(point, item=item), argument)
        self._entered[path] += 1
        self.calls.append(call)
        self._running.append(call)

    def _leave(self, path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        call = self._running.pop()
        point = Point(path, call=self._left[path])
        for item, element in elements_of(output).items():
            if isinstance(element, Tensor):
                call.outputs += self._see(replace(point, item=item), element)
        call.end = len(self._alive)
        self._left[path] += 1

    def _see(self, point: Point, tensor: Tensor) -> list[Value]:
        value = self.value_of(tensor)
        self.seen[point] = Seen(tensor, version_of(tensor), value)
        if value is None:
            return []
        value.points.append(point)
        return [value]


def traced(network: nn.Module, example: Inputs) -> Trace:
    """The trace of a network on two samples of the example, or on as many as it can take.

    A network may need more than one sample, or exactly as many as the example has, so after two samples the
    whole example is tried, then one sample, and one sample twice.

    Raises:
        LimbeckError: if the network can take none of them.
    """
    tried: list[Trace] = []
    first: Exception | None = None
    for inputs in _sizes(example):
        try:
            trace = Trace(network, inputs)
        except LimbeckError:
            raise
        except Exception as error:  # whatever other people's code raises
            first = first or error
            continue
        if any(tensor.ndim >= 2 and len(tensor) == trace.batch for tensor in _tensors(trace.result)):
            return trace
        tried.append(trace)  # squeeze() has taken the batch axis with it, perhaps
    if not tried:
        reason = next(iter(str(first).strip().splitlines()), "") or type(first).__name__
        raise LimbeckError(
            f"{type(network).__name__} cannot take the example, {described(example)}: {reason}"
        ) from first
    return tried[0]


def trained(network: nn.Module, example: Inputs) -> Trace | None:
    """The trace of a network in training mode; None if it can take none of the numbers of samples tried."""
    for inputs in _sizes(example):
        try:
            return Trace(network, inputs, training=True)
        except Exception:
            continue
    return None


def described(inputs: Inputs) -> str:
    """What inputs are, for messages: `a float32 tensor of shape (8, 3)`, by name if they have names."""
    if isinstance(inputs, Tensor):
        return f"a {str(inputs.dtype).removeprefix('torch.')} tensor of shape {tuple(inputs.shape)}"
    return ", ".join(f"{name}: {described(tensor)}" for name, tensor in inputs.items())


def _sizes(example: Inputs) -> Iterator[Inputs]:
    """Two samples, all, one, and one twice; each number of samples once."""
    samples = size_of(example)
    for size in dict.fromkeys((min(samples, 2), samples, 1)):
        yield apply(lambda tensor, size=size: tensor[:size], example)  # type: ignore[misc]
    if samples == 1:
        yield apply(lambda tensor: torch.cat([tensor, tensor]), example)


_NO_TENSORS = (type(None), bool, int, float, str, torch.dtype, torch.device)


def _tensors(tree: Any) -> list[Tensor]:
    """The tensors in a tree, in order; what trees are mostly made of is looked through without pytree."""
    kind = type(tree)
    if kind in _NO_TENSORS:
        return []
    if isinstance(tree, Tensor):
        return [tree]
    if kind in (tuple, list, dict):
        return [leaf for each in (tree.values() if kind is dict else tree) for leaf in _tensors(each)]
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    plain = tensor.layout is torch.strided and not tensor.is_nested and tensor.numel() and not tensor.is_meta
    return tensor.untyped_storage().data_ptr() if plain else -id(tensor)


def _data(inputs: Inputs) -> Tensor:
    """The input whose way to the logits is followed: the first that is no mask."""
    if isinstance(inputs, Tensor):
        return inputs
    return next(
        (tensor for name, tensor in inputs.items() if "mask" not in name), next(iter(inputs.values()))
    )
