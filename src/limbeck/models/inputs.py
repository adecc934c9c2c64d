"""What a network must know of its inputs: taken from an example, checked against the spec."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn

from limbeck.arguments import Count, checked_arguments
from limbeck.errors import LimbeckError
from limbeck.notation import Call, show
from limbeck.outputs import Inputs

Size: TypeAlias = Count | Annotated[Sequence[Count], Field(min_length=2, max_length=2)]
"""Pixels of an image: the side of a square, or [height, width]."""

Widths: TypeAlias = Annotated[Sequence[Count], Field(min_length=1)]
"""Channels of each stage, shallow to deep."""


def sides(size: Size, least: int, network: str) -> tuple[int, int]:
    """Height and width; LimbeckError naming `network` where one is under `least` pixels."""
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < least:
        raise LimbeckError(
            f"{network} needs images of at least {least} x {least} pixels, not {height} x {width}"
        )
    return height, width


def per_stage(value: int | Sequence[int], stages: int, argument: str) -> list[int]:
    """The value of each stage; LimbeckError naming `argument` where a list has another length."""
    values = [value] * stages if isinstance(value, int) else list(value)
    if len(values) != stages:
        raise LimbeckError(f"{argument} must be one number, or {stages} as there are channels, not {values}")
    return values


def complete(
    call: Call, make: Callable[..., nn.Module], example: Inputs | None, known: Mapping[str, int]
) -> dict[str, Any]:
    """The keyword arguments for `make`: those of the call, checked, and the facts that it leaves out.

    Args:
        call: call of `make`, by its name in the table.
        make: a network's class.
        example: inputs it will get, of which it is told what it has an argument for.
        known: further facts by argument.
    """
    function = make.__init__ if isinstance(make, type) else make  # type: ignore[misc]
    parameters = inspect.signature(make).parameters
    facts = {name: fact for name, fact in {**_facts(example), **known}.items() if name in parameters}
    kwargs = {**facts, **call.kwargs}
    missing = [name for name in ("num_classes", *_INPUT_FACTS) if name in parameters and name not in kwargs]
    if example is not None and "in_channels" in missing:
        raise LimbeckError(f"{call} takes images of shape (B, C, H, W), not {described(example)}")
    if isinstance(example, Mapping) and "in_features" in missing:
        raise LimbeckError(f"{call} takes features of shape (B, F), not {described(example)}")
    if isinstance(example, Tensor) and example.dtype != torch.int64 and "vocab_size" in missing:
        raise LimbeckError(f"{call} takes token ids of shape (B, L), not {described(example)}")
    if missing:
        raise LimbeckError(f"{call} needs {', '.join(missing)}; write {call.name}({missing[0]}=...)")
    checked_arguments(call.name, function, call.args, kwargs)
    for name, fact in facts.items():
        given = kwargs[name]
        if name == "vocab_size" and given > fact:
            continue  # a vocabulary is often padded, or larger than what one data set needs
        if _comparable(given, name) != _comparable(fact, name):
            raise LimbeckError(f"{call}: {name} is {show(fact)} in the data")
    return kwargs


_INPUT_FACTS = ("in_channels", "size", "in_features", "vocab_size")


def _facts(example: Inputs | None) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if isinstance(example, Tensor):
        facts["in_features"] = math.prod(example.shape[1:])
        if example.dim() == 4:
            _, facts["in_channels"], height, width = example.shape
            facts["size"] = height if height == width else [height, width]
    return facts


def _comparable(value: Any, name: str) -> Any:
    """A side as [height, width], so that 8 and [8, 8] compare equal."""
    return [value, value] if name == "size" and isinstance(value, int) else value


def described(example: Inputs) -> str:
    """Inputs in words, for messages."""
    if isinstance(example, Tensor):
        return f"inputs of shape {tuple(example.shape)}"
    return f"named inputs ({', '.join(example)})"
