"""Values: what a forward makes, one operation after another."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from torch import nn

from limbeck.features.points import Point

_CHANNELS_FIRST = ("conv", "pool", "batch_norm", "group_norm", "instance_norm", "interpolate")
_CHANNELS_LAST = ("linear", "embedding", "attention")
_MOVES = ("permute", "transpose", "movedim", "moveaxis", "swapaxes", "swapdims")


@dataclass(eq=False)
class Value:
    """What one operation left in a tensor; writing over it in place makes another value.

    Attributes:
        index: position in the order of making.
        shape: shape of the tensor then.
        operation: name of the torch function that made it; "" for the network's input.
        sources: the values it was made from; weights, masks and other constants are none.
        weight: shape of the weight matrix or kernel it was multiplied with, if it was.
        channels_last: channels are its last axis, as in hidden states (B, L, D), and not axis 1.
        module: the innermost module call it was made in.
        points: where it can be had.
    """

    index: int
    shape: tuple[int, ...]
    operation: str = ""
    sources: tuple[Value, ...] = ()
    weight: tuple[int, ...] | None = None
    channels_last: bool = False
    module: ModuleCall | None = None
    points: list[Point] = field(default_factory=list)

    @property
    def positions(self) -> tuple[int, ...]:
        """Its axes besides batch and channels: (H, W) of a map, (L,) of a sequence, () of a vector."""
        return self.shape[1:-1] if self.channels_last else self.shape[2:]

    @property
    def dropped(self) -> bool:
        """Whether dropout made it."""
        return "dropout" in self.operation

    @property
    def normalized(self) -> bool:
        """Whether a normalization made it."""
        module = "" if self.module is None else type(self.module.module).__name__
        return "norm" in self.operation or "norm" in module.lower()


@dataclass(eq=False)
class ModuleCall:
    """One call of one module; the values numbered `start` to before `end` were made in it."""

    path: str
    module: nn.Module
    start: int
    end: int = sys.maxsize
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)


def channels_last(operation: str, shape: tuple[int, ...], sources: tuple[Value, ...]) -> bool:
    """Whether an operation leaves the channels on the last axis, as far as its name and its shapes tell."""
    if len(shape) < 3 or any(part in operation for part in _CHANNELS_FIRST):
        return False
    if any(part in operation for part in _CHANNELS_LAST):
        return True
    source = next((source for source in sources if len(source.shape) > 2), None)
    channels = None if source is None else source.shape[-1 if source.channels_last else 1]
    if source is not None and operation in _MOVES and len(shape) == 4:
        return not source.channels_last if shape[1] == shape[-1] else shape[-1] == channels
    alike = [source.channels_last for source in sources if source.shape == shape]
    if alike or len(shape) == 3:  # a sequence is (B, L, D) until a convolution shows that it is (B, C, L)
        return any(alike) or not alike
    return source is not None and source.channels_last and shape[-1] == channels
