"""The spine of a network: the values that every path from its input to its logits crosses."""

from __future__ import annotations

from itertools import accumulate, pairwise

from limbeck.features.points import Point
from limbeck.features.trace import Trace
from limbeck.features.values import Value


class Spine:
    """What a block hands to the next is on the spine; what is inside a residual branch is not.

    Attributes:
        layers: how many weight layers lie behind a value, its own included, for all values between input and
            logits in the order of making.
        crossed: the values on the spine.
        sums: those of them in which paths meet that have weight layers: residual sums, concatenations.
        candidates: those of them that can be had at some point, samples first, with at least one weight
            layer behind them; what dropout made is left out.
    """

    def __init__(self, trace: Trace, logits: Value) -> None:
        values = behind(logits)
        self.layers = dict(zip(values, accumulate(value.weight is not None for value in values), strict=True))
        last_use = {source: value.index for value in values for source in value.sources}
        reach = 0  # the last use of anything made so far; what is made before it has a way round it
        self.crossed: list[Value] = []
        for value in values:
            if value.index >= reach:
                self.crossed.append(value)
            reach = max(reach, last_use.get(value, 0))
        self.sums = {
            value
            for before, value in pairwise(self.crossed)
            if len(value.sources) > 1 and self.layers[value] > self.layers[before]
        }
        self.candidates = [
            value
            for value in self.crossed
            if value.points and self.layers[value] and value.shape[0] == trace.batch and not value.dropped
        ]

    def maker(self, value: Value) -> Value:
        """The weight layer or sum on the spine that a value was made by, apart from norms and activations."""
        here = self.crossed.index(value)
        behind = reversed(self.crossed[: here + 1])
        return next((before for before in behind if before.weight or before in self.sums), value)


def point_of(value: Value) -> Point:
    """The plainest point of a value: where it comes out of the shallowest module, if it comes out of any."""
    return min(value.points, key=lambda point: (point.item is not None, point.side == "input", _depth(point)))


def depth_of(value: Value) -> int:
    """The number of modules around the outermost point of a value that has points; 0 at the network."""
    return min(map(_depth, value.points))


def _depth(point: Point) -> int:
    return len(point.path.split(".")) if point.path else 0


def behind(value: Value) -> list[Value]:
    """The values that a value comes from, itself included, in the order of making."""
    found, pending = {value}, [value]
    while pending:
        new = set(pending.pop().sources) - found
        found |= new
        pending += new
    return sorted(found, key=lambda value: value.index)
