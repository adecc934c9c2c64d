"""Finds where a network's features can be had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from math import prod

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError, unknown
from limbeck.features.calling import logits_of, uncompiled, undisturbed
from limbeck.features.points import FIELDS, SEVERAL, FeaturePoints, Point
from limbeck.features.stages import choose
from limbeck.features.tap import Tap
from limbeck.features.trace import Trace
from limbeck.outputs import Inputs

Names = Mapping[str, "str | Sequence[str]"]


def find(network: nn.Module, example: Inputs, *, overrides: Names | None = None) -> FeaturePoints:
    """Finds a network's logits, embedding, stages, stem and pre-activations.

    Each field is what `overrides` names; else what the network names, in a method `feature_points()` that
    returns such a mapping; else what one forward shows (`limbeck.features.stages`). The network runs once, in
    eval mode, on two samples of the example, and is left as it was.

    Args:
        network: takes the example as `network(tensor)` or `network(**tensors)`.
        example: inputs of a few samples, on the network's device.
        overrides: points by field, as `Point` writes them: `{"embedding": "fc:input", "stages": ["layer1"]}`.

    Returns: the points; None or () for what there is not.

    Raises:
        LimbeckError: if a named field is unknown, or nothing is to be had at a named point.
    """
    network = uncompiled(network)
    declare = getattr(network, "feature_points", None)
    names: dict[str, str | Sequence[str]] = {**(declare() if callable(declare) else {}), **(overrides or {})}
    for field in names:
        if field not in FIELDS:
            raise unknown(f"feature of {type(network).__name__}", field, FIELDS)
    trace = Trace(network, example)
    named = {field: _named(trace, field, given) for field, given in names.items()}
    points = {**_shown(trace, named), **named}
    marked = {field: tuple(map(trace.marked, found)) for field, found in points.items()}
    one = {field: next(iter(found), None) for field, found in marked.items()}
    return FeaturePoints(
        logits=one.get("logits"),
        embedding=one.get("embedding"),
        stages=marked.get("stages", ()),
        stem=one.get("stem"),
        preactivations=marked.get("preactivations", ()),
    )


def _named(trace: Trace, field: str, given: str | Sequence[str]) -> tuple[Point, ...]:
    if not isinstance(given, str) and field not in SEVERAL:
        raise LimbeckError(f"the {field} of {trace.name} must be one point, not a list")
    return tuple(_at(trace, field, text) for text in ([given] if isinstance(given, str) else given))


def _at(trace: Trace, field: str, text: str) -> Point:
    """The point a text names, if there is a tensor that the field can be."""
    point = replace(Point.parse(text), pool=False)
    paths = [path for path, _ in trace.network.named_modules()]
    if point.path not in paths:
        near = get_close_matches(point.path, paths, n=1, cutoff=0.5)
        raise unknown(
            f"module of {trace.name}",
            point.path,
            near or [path for path in paths if path and "." not in path],
        )
    if point not in trace.seen:
        others = [str(other) or "its result" for other in trace.seen if other.path == point.path]
        have = f"its tensors are {', '.join(others)}" if others else "it does not run in a forward"
        raise LimbeckError(f"no {field} of {trace.name} is to be had at {text!r}; {have}")
    tensor = trace.seen[point].tensor
    fitting = _as_vector(trace, point) if field == "embedding" else point
    if fitting is None or not tensor.is_floating_point() or tensor.ndim < 2 or len(tensor) != trace.batch:
        raise LimbeckError(
            f"{text!r} of {trace.name} cannot be its {field}: for {trace.batch} samples it is a "
            f"{str(tensor.dtype).removeprefix('torch.')} tensor of shape {tuple(tensor.shape)}"
        )
    return fitting


def _as_vector(trace: Trace, point: Point) -> Point | None:
    """The point of an embedding, pooled if it has positions; None if it is a signal (B, D, L)."""
    shape, value = trace.seen[point].tensor.shape, trace.seen[point].value
    if prod(value.positions if value else shape[2:]) == 1:
        return point
    last = value.channels_last if value else len(shape) == 3
    return replace(point, pool=True) if last or len(shape) > 3 else None


def _shown(trace: Trace, named: Mapping[str, Sequence[Point]]) -> dict[str, tuple[Point, ...]]:
    """What the trace shows, in the light of what is known."""
    result = _logits(trace.result)
    if "logits" in named:
        value = trace.seen[named["logits"][0]].value
    else:
        value = None if result is None else trace.value_of(result)
    stages = [trace.seen[point].value for point in named.get("stages", ())]
    found = choose(trace, value, [value for value in stages if value]) if value else FeaturePoints()
    embedding = found.embedding and _as_vector(trace, found.embedding)
    found = replace(found, logits=None if result is None else Point(""), embedding=embedding)
    return {field: found.of(field) for field in FIELDS}


def _logits(result: object) -> Tensor | None:
    try:
        return logits_of(result)
    except LimbeckError:
        return None


def describe(
    network: nn.Module, example: Inputs, *, overrides: Names | None = None
) -> list[tuple[str, str, tuple[int, ...]]]:
    """What `find` finds, as rows of field, point and shape of its tensor for the example."""
    points = find(network, example, overrides=overrides)
    fields = [field for field in FIELDS if points.of(field)]
    network = uncompiled(network)
    with undisturbed(network, example), torch.no_grad():
        outputs = Tap(network, points, fields)(example)
    return [
        (field, str(point), tuple(tensor.shape))
        for field in fields
        for point, tensor in zip(
            points.of(field), outputs[field] if field in SEVERAL else [outputs[field]], strict=True
        )
    ]
