"""One forward of a network, written down: which tensor came from which, and which modules they passed.

It sees torch's functions and not only modules, so functional code (`F.relu`, `+`, `flatten`) is in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from limbeck.features.calling import arguments_of, call, elements_of, undisturbed, version_of
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
    """One forward of a network in eval mode, on two samples at most, which leaves the network as it was.

    Attributes:
        result: what the network returned.
        batch: how many samples went in.
        calls: the module calls in the order they began, the network's own first.
        seen: every tensor that a module was given or returned, by point.
    """

    def __init__(self, network: nn.Module, example: Inputs) -> None:
        super().__init__()
        self.calls: list[ModuleCall] = []
        self.seen: dict[Point, Seen] = {}
        self._values: dict[tuple[int, int], Value] = {}  # by id and version of the tensor
        self._latest: dict[int, Value] = {}  # by address of the storage
        self._alive: list[Tensor] = []  # so that ids and addresses stay theirs
        self._running: list[ModuleCall] = []
        self._entered: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        inputs = apply(lambda tensor: tensor[:2], example)
        self.batch = size_of(inputs)
        with undisturbed(network, inputs), torch.no_grad(), self._hooked(network):
            self._add(_data(inputs), Value(0, ()))
            with self:
                self.result = call(network, inputs)

    @property
    def network(self) -> nn.Module:
        """The network that ran."""
        return self.calls[0].module

    @property
    def name(self) -> str:
        """Its class, for messages."""
        return type(self.network).__name__

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


def _tensors(tree: Any) -> list[Tensor]:
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
