"""Which batch norm a tensor of a network comes out of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from limbeck.features.calling import uncompiled
from limbeck.features.points import Point
from limbeck.features.spine import behind
from limbeck.features.trace import traced
from limbeck.features.values import Value
from limbeck.outputs import Inputs

BatchNorm: TypeAlias = _BatchNorm
"""Any of torch's batch norms."""

_SUMS = ("add", "add_", "__add__", "__iadd__", "__radd__")


def batch_norms(network: nn.Module, example: Inputs, points: Sequence[Point]) -> list[BatchNorm | None]:
    """For each point, the batch norm whose output is the tensor there, or a summand of it; None without one.

    Of several it is the one with most weight layers behind it: in a residual block the last of the branch,
    not that of the shortcut.

    Args:
        network: the network that was given to `find`.
        example: inputs of a few samples, on the network's device.
        points: what `find` found.
    """
    trace = traced(uncompiled(network), example)
    values = [trace.seen[point].value for point in points]
    return [None if value is None else _maker(value) for value in values]


def _maker(value: Value) -> BatchNorm | None:
    found: dict[int, BatchNorm] = {}
    for summand in _summands(value):
        module = None if summand.module is None else summand.module.module
        if isinstance(module, _BatchNorm):
            found[_depth(summand)] = module
    return found[max(found)] if found else None


def _summands(value: Value) -> Iterator[Value]:
    if value.operation not in _SUMS:
        yield value
        return
    for source in value.sources:
        if source.shape == value.shape:
            yield from _summands(source)


def _depth(value: Value) -> int:
    """The most weight layers on any way from the input to a value."""
    depths: dict[Value, int] = {}
    for before in behind(value):
        layers = max((depths[source] for source in before.sources), default=0)
        depths[before] = layers + (before.weight is not None)
    return depths[value]
