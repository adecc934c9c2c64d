"""Points: where in a network a tensor can be had."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from limbeck.errors import LimbeckError
from limbeck.features.calling import Item

FIELDS = ("logits", "embedding", "stages", "stem", "preactivations")
"""The fields that are looked for; any other field is an output that the network names."""
SEVERAL = ("stages", "preactivations")
"""The fields that hold a tuple."""

_TEXT = re.compile(r"(?P<path>[^#:\[\]()]*)(?:#(?P<call>\d+))?(?P<input>:input)?(?:\[(?P<item>[^\[\]]+)\])?")
_POOLED = re.compile(r"pool\((.*)\)")


@dataclass(frozen=True)
class Point:
    """Where one tensor can be had: what a module of the network returns or is given.

    As text, a module path and what is needed after it, in this order:

        layer1            what `network.layer1` returns
        relu#2            what the same module returns when it runs for the third time in one forward
        fc:input          the first tensor that `network.fc` is called with
        encoder[0]        an element of the tuple, mapping or output object that it returns
        decoder:input[x]  an argument, by position or keyword
        [features]        an element of what the network itself returns; its path is empty
        pool(head:input)  the same tensor, averaged over its positions

    Attributes:
        path: dotted module path inside the network; "" is the network itself.
        side: what the module returns, or what it is called with.
        item: element of the output, or argument; None is the tensor itself, or the first argument.
        call: which call of the module within one forward, from 0.
        pool: average over the positions of a map or a sequence, to (B, D); for an embedding.
        overwritten: the network overwrites the tensor in place later on, so a capture is a copy.
        channels_last: the tensor is a map (B, H, W, C); a capture has its channels moved to axis 1.
    """

    path: str
    side: Literal["output", "input"] = "output"
    item: Item = None
    call: int = 0
    pool: bool = False
    overwritten: bool = field(default=False, compare=False)
    channels_last: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        text = self.path
        text += f"#{self.call}" if self.call else ""
        text += ":input" if self.side == "input" else ""
        text += f"[{self.item}]" if self.item is not None else ""
        return f"pool({text})" if self.pool else text

    @property
    def is_result(self) -> bool:
        """Whether it is in what the network itself returns; without an item, that is its logits."""
        return not self.path and self.side == "output"

    @property
    def described(self) -> str:
        """The place in words, for a message about the tensor there."""
        if self.is_result:
            return "what it returns" if self.item is None else f"[{self.item}] of what it returns"
        return f"the tensor at {str(self)!r}"

    @classmethod
    def parse(cls, text: str) -> Point:
        """The point that a text names.

        Raises:
            LimbeckError: if it is not of the form above.
        """
        pooled = _POOLED.fullmatch(text)
        match = _TEXT.fullmatch(pooled[1] if pooled else text)
        if match is None:
            raise LimbeckError(
                f"{text!r} names no place in a network; write a module path, then #CALL, :input and [ITEM] "
                f"where needed, for example 'layer1', 'fc:input' or 'encoder[0]'"
            )
        item = match["item"]
        return cls(
            path=match["path"],
            side="input" if match["input"] else "output",
            item=int(item) if item and item.isdecimal() else item,
            call=int(match["call"] or 0),
            pool=pooled is not None,
        )


@dataclass(frozen=True)
class FeaturePoints:
    """Where a network's features can be had; None or () for what was not found.

    Attributes:
        logits: the logits in eval mode; `logits.described` says in words where that is.
        embedding: what enters the layer that makes the logits.
        stages: the outputs of the groups of blocks, from shallow to deep.
        stem: what enters the first of the stages.
        preactivations: the stages before their last ReLU.
        outputs: the other things that the network names in what it returns, and those that a user names.
        training_logits: the logits in training mode, if that is another place than in eval mode.
    """

    logits: Point | None = None
    embedding: Point | None = None
    stages: tuple[Point, ...] = ()
    stem: Point | None = None
    preactivations: tuple[Point, ...] = ()
    outputs: tuple[tuple[str, Point], ...] = ()
    training_logits: Point | None = None

    def of(self, field: str) -> tuple[Point, ...]:
        """The points of one field, as many as there are."""
        if field not in FIELDS:
            return tuple(point for name, point in self.outputs if name == field)
        points: Point | tuple[Point, ...] | None = getattr(self, field)
        return points if isinstance(points, tuple) else () if points is None else (points,)


@dataclass(frozen=True)
class Head:
    """A linear layer that makes a network's logits of its embedding, at every position.

    Attributes:
        path: module path of the layer.
        scale: factor of what it gives.
        softcap: bound c of the logits, c tanh(z / c); None without.
    """

    path: str
    scale: float = 1.0
    softcap: float | None = None
