"""Finds where a network's features can be had."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import chain
from math import prod

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from limbeck.errors import LimbeckError, unknown
from limbeck.features.calling import call, elements_of, opaque, set_mode, uncompiled, undisturbed
from limbeck.features.logits import candidates, logits_item
from limbeck.features.modes import in_training
from limbeck.features.points import FIELDS, SEVERAL, FeaturePoints, Point
from limbeck.features.stages import choose
from limbeck.features.tap import Tap
from limbeck.features.trace import Seen, Trace, described, traced, trained
from limbeck.outputs import Inputs

Names = Mapping[str, "str | Sequence[str]"]


def find(
    network: nn.Module,
    example: Inputs,
    *,
    overrides: Names | None = None,
    width: int | None = None,
    dense: bool = False,
    training: bool | None = None,
) -> FeaturePoints:
    """Finds a network's logits, embedding, stages, stem and pre-activations.

    Each field is what `overrides` names; else what the network names, in a method `feature_points()` that
    returns such a mapping; else what one forward shows (`limbeck.features.stages`; for the logits
    `limbeck.features.logits`). The network runs in eval mode on two samples of the example, or on as many as
    it can take, and a second time in training mode if it will be trained; it is left as it was, apart from
    lazy modules, which get their shapes.

    Args:
        network: takes the example as `network(tensor)` or `network(**tensors)`.
        example: inputs of a few samples, on the network's device.
        overrides: points by field, as `Point` writes them: `{"embedding": "fc:input", "stages": ["layer1"]}`;
            an output that a task names is a field, too: `{"boxes": "[pred_boxes]"}`.
        width: how many logits there are for each decision, where the task tells it; 0 where what the network
            answers is an embedding, which is the embedding then.
        dense: whether the task has a decision at each position, as for pixels and tokens.
        training: whether the network will run in training mode, where its logits may be elsewhere; None for
            a network that is in training mode now.

    Returns: the points; None or () for what there is not.

    Raises:
        LimbeckError: if the network cannot take the example, a named field is unknown, there is no tensor
            at a named point, or several things that the network returns may be its logits.
    """
    network = uncompiled(network)
    declare = getattr(network, "feature_points", None)
    names: dict[str, str | Sequence[str]] = {**(declare() if callable(declare) else {}), **(overrides or {})}
    for field in names:
        if field not in FIELDS and get_close_matches(field, FIELDS, n=1, cutoff=0.7):
            raise unknown(f"feature of {type(network).__name__}", field, FIELDS)
    _materialize(network, example)
    trace = traced(network, example)
    named = {field: _named(trace, field, given) for field, given in names.items()}
    shown = _shown(trace, named, width, dense)
    points = {**shown, **named}
    marked = {field: tuple(map(trace.marked, found)) for field, found in points.items()}
    one = {field: next(iter(found), None) for field, found in marked.items()}
    logits = one.get("logits")
    if width == 0 and "embedding" not in (overrides or {}):
        one["embedding"] = logits
    will_train = network.training if training is None else training
    later = _in_training(trace, example, logits, dense) if logits and will_train else None
    return FeaturePoints(
        logits=logits,
        embedding=one.get("embedding"),
        stages=marked.get("stages", ()),
        stem=one.get("stem"),
        preactivations=marked.get("preactivations", ()),
        outputs=tuple((field, point) for field, point in one.items() if field not in FIELDS and point),
        training_logits=None if later == logits else later,
    )


def answering(
    network: nn.Module,
    example: Inputs,
    fields: Collection[str] = (),
    *,
    overrides: Names | None = None,
    width: int | None = None,
    dense: bool = False,
    positions: bool = False,
) -> Tap:
    """A network as something that gives Outputs for inputs: the way to call any network whose logits count.

    Args:
        network, example, overrides, width, dense: as in `find`.
        fields: what to give beside the logits; a field that was not found is an error.
        positions: whether an embedding keeps its positions, as in `Tap`.

    Returns: a tap, called as `tap(inputs).logits`; without further fields it puts no hooks on the network.

    Raises:
        LimbeckError: as `find`, and if the network has no logits or lacks one of the fields.
    """
    points = find(network, example, overrides=overrides, width=width, dense=dense)
    return Tap(network, points, fields, positions=positions)


def _materialize(network: nn.Module, example: Inputs) -> None:
    """Gives lazy modules their shapes and their fresh weights, by a forward in eval mode."""
    tensors = chain(network.parameters(), network.buffers())
    if not any(is_lazy(tensor) for tensor in tensors):
        return
    modes = [(module, module.training) for module in network.modules()]
    set_mode(network, False)
    try:
        with torch.no_grad():
            call(network, example)
    except Exception as error:  # whatever other people's code raises
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise LimbeckError(
            f"{type(network).__name__} has lazy modules, which get their shapes from a first forward, and it "
            f"cannot take the example, {described(example)}: {reason}"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode
    left = [name for name, tensor in network.named_parameters() if is_lazy(tensor)]
    if left:
        raise LimbeckError(
            f"{type(network).__name__} has a lazy module that its forward does not run: {left[0]} has no "
            "shape yet; leave the module out, or give it its shape"
        )


def _in_training(trace: Trace, example: Inputs, logits: Point, dense: bool) -> Point | None:
    """Where the logits are in training mode; None if that cannot be told."""
    if not logits.is_result:
        return logits
    later = trained(trace.network, example)
    return None if later is None else in_training(trace, later, logits, dense=dense)


def _named(trace: Trace, field: str, given: str | Sequence[str]) -> tuple[Point, ...]:
    if not isinstance(given, str) and field not in SEVERAL:
        raise LimbeckError(f"the {field} of {trace.name} must be one point, not a list")
    return tuple(_at(trace, field, text) for text in ([given] if isinstance(given, str) else given))


def _at(trace: Trace, field: str, text: str) -> Point:
    """The point a text names, if there is a tensor that the field can be."""
    point = replace(Point.parse(text), pool=False)
    inside = opaque(trace.network)
    if inside and not point.is_result:
        raise LimbeckError(
            f"{trace.name} is {inside}, whose inside cannot be seen, so its {field} cannot be at {text!r}; "
            "only what it returns can be read, for example '[0]'"
        )
    paths = [path for path, _ in trace.network.named_modules()]
    if point.path not in paths:
        near = get_close_matches(point.path, paths, n=1, cutoff=0.5)
        raise unknown(
            f"module of {trace.name}",
            point.path,
            near or [path for path in paths if path and "." not in path],
        )
    seen = trace.at(point)
    if seen is None:
        others = [str(other) or "its result" for other in trace.seen if other.path == point.path]
        have = f"its tensors are {', '.join(others)}" if others else "it does not run in a forward"
        raise LimbeckError(f"{trace.name} has no {field} at {text!r}; {have}")
    if field not in FIELDS:
        return point
    tensor = seen.tensor
    fitting = _as_vector(seen, point) if field == "embedding" else point
    if fitting is None or not tensor.is_floating_point() or tensor.ndim < 2 or len(tensor) != trace.batch:
        raise LimbeckError(
            f"{text!r} of {trace.name} cannot be its {field}: for {trace.batch} samples it is a "
            f"{str(tensor.dtype).removeprefix('torch.')} tensor of shape {tuple(tensor.shape)}"
        )
    return fitting


def _as_vector(seen: Seen, point: Point) -> Point | None:
    """The point of an embedding, pooled if it has positions; None if it is a signal (B, D, L)."""
    shape, value = seen.tensor.shape, seen.value
    if prod(value.positions if value else shape[2:]) == 1:
        return point
    last = value.channels_last if value else len(shape) == 3
    return replace(point, pool=True) if last or len(shape) > 3 else None


def _shown(
    trace: Trace, named: Mapping[str, Sequence[Point]], width: int | None, dense: bool
) -> dict[str, tuple[Point, ...]]:
    """What the trace shows, in the light of what is known."""
    logits = named["logits"][0] if "logits" in named else _logits(trace, width, dense)
    seen = trace.at(logits) if logits else None
    value = seen.value if seen else None
    known = [trace.at(point) for point in named.get("stages", ())]
    stages = [each.value for each in known if each and each.value]
    found = choose(trace, value, stages) if value else FeaturePoints()
    entering = trace.at(found.embedding) if found.embedding else None
    embedding = _as_vector(entering, found.embedding) if entering and found.embedding else None
    found = replace(found, logits=logits, embedding=embedding)
    others = {
        item: (Point("", item=item),)
        for item, element in elements_of(trace.result).items()
        if isinstance(item, str)
        and item not in FIELDS
        and element is not None
        and Point("", item=item) != logits
    }
    return {**others, **{field: found.of(field) for field in FIELDS}}


def _logits(trace: Trace, width: int | None, dense: bool) -> Point | None:
    """Where the logits are in what the network returned; None where nothing there can be logits."""
    try:
        return Point("", item=logits_item(trace.result, width=width, dense=dense, whose=trace.name))
    except LimbeckError:
        if candidates(trace.result, dense=dense):
            raise
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
