"""Which values of a trace are a network's embedding, stages, stem and pre-activations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby, takewhile
from math import ceil, prod

from torch import nn

from limbeck.features.points import FeaturePoints
from limbeck.features.spine import Spine, depth_of, point_of
from limbeck.features.trace import Trace
from limbeck.features.values import ModuleCall, Value

MOST_STAGES = 4
_AVERAGES = ("mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d")


def choose(trace: Trace, logits: Value, named: Sequence[Value] = ()) -> FeaturePoints:
    """What a trace shows of a network, besides where its logits are.

    - The embedding is what enters the layer that makes the logits, before dropout.
    - A stage is the last value on the spine at each resolution that is not inside a block on its way to the
      next resolution, not made by a convolution 1x1 that widens the last map for the classifier, and not by a
      normalization after the last residual sum; at one pixel, only what residual blocks made. Of more than
      four, the last four; what ends the resolution before them is the stem. Of four, a first without a
      residual sum behind it is the stem, too. Otherwise the stem is what enters the modules that make the
      first stage.
    - In a token model the stages are its blocks, in a perceptron its hidden layers; of more than four, those
      at a quarter, half, three quarters and the whole of the depth.
    - Pre-activations are what entered the ReLUs that made the stages, where all were made by one.

    Args:
        trace: of one forward.
        logits: the logits in it.
        named: the stages, where they are known already.
    """
    spine = Spine(trace, logits)
    embedding = _embedding(spine, logits)
    if embedding is not None:
        spine.candidates = [value for value in spine.candidates if value.index <= embedding.index]
    stem, stages = (_stem(trace, spine, named[0]), named) if named else _divide(trace, spine)
    before = [value.sources[0] for value in stages if value.operation in ("relu", "relu_")]
    entered = [point_of(value) for value in before if value.points]
    return FeaturePoints(
        embedding=point_of(embedding) if embedding and embedding.points else None,
        stages=tuple(point_of(value) for value in stages),
        stem=point_of(stem) if stem and stem.points else None,
        preactivations=tuple(entered) if len(entered) == len(stages) else (),
    )


def _embedding(spine: Spine, logits: Value) -> Value | None:
    layer, averaged = logits, True
    while layer.weight is None and len(layer.sources) == 1:
        pooled, layer = layer, layer.sources[0]
        averaged &= prod(pooled.positions) == prod(layer.positions) or pooled.operation.endswith(_AVERAGES)
    if layer.weight is None or len(layer.sources) != 1:
        return None
    entering = layer.sources[0]
    dense = prod(logits.positions) > 1
    if prod(entering.positions) > 1 and not averaged and not dense:  # the logits are those of one position
        return None
    call = layer.module
    if not entering.points and call and call.path and call.inputs:  # a layer that prepares its input itself
        given = call.inputs[0]
        entering = given if spine.layers.get(given) == spine.layers[entering] else entering
    before = entering
    while before.dropped:
        before = before.sources[0]
        entering = before if before.points else entering
    return entering


def _divide(trace: Trace, spine: Spine) -> tuple[Value | None, list[Value]]:
    """The stem and the stages, by resolution, by blocks or by layers."""
    stages = _maps(trace, spine)
    deepest = spine.layers[spine.candidates[-1]] if spine.candidates else 0
    if not stages or 2 * spine.layers[stages[-1]] < deepest:  # a perceptron, or patches for a token model
        blocks = _blocks(trace, spine)
        hidden = [block.outputs[0] for block in blocks] or _hidden(spine)
        return blocks[0].inputs[0] if blocks else None, _quarters(hidden)
    plain = not any(value.index <= stages[0].index for value in spine.sums)
    if len(stages) > MOST_STAGES or (len(stages) == MOST_STAGES and plain):
        kept = min(len(stages) - 1, MOST_STAGES)
        return stages[-kept - 1], stages[-kept:]
    return _stem(trace, spine, stages[0]), stages


def _maps(trace: Trace, spine: Spine) -> list[Value]:
    blocks = [call for call in _repeated(trace) if _resizes(call)]
    stages: list[Value] = []
    maps = [value for value in spine.candidates if _is_map(value)]
    maps += _of_one_pixel(spine, maps)
    for _, run in groupby(maps, key=lambda value: prod(value.positions)):
        reached = spine.layers[stages[-1]] if stages else 0
        outside = [value for value in run if not any(_inside(value, block) for block in blocks)]
        stages += [value for value in outside if spine.layers[value] > reached][-1:]  # more than pooled
    stages[-1:] = [_unwidened(trace, spine, stage) for stage in stages[-1:]]
    return [_unnormalized(trace, spine, stage) for stage in stages]


def _of_one_pixel(spine: Spine, maps: list[Value]) -> list[Value]:
    """The maps of one pixel that residual blocks, and no averaging, make of images small for the network."""
    pixels = [value for value in spine.crossed if _has_pixels(value) and prod(value.positions) == 1]
    made = list(takewhile(lambda value: not value.operation.endswith(_AVERAGES), pixels))
    residual = made and maps and any(maps[-1].index < value.index <= made[-1].index for value in spine.sums)
    return [value for value in made if value in spine.candidates] if residual else []


def _unwidened(trace: Trace, spine: Spine, stage: Value) -> Value:
    """What a convolution 1x1 widened to make the last stage, if one did."""
    made = spine.maker(stage)
    if made.weight is None or prod(made.weight[2:]) > 1 or len(made.sources) > 1:
        return stage
    before = made.sources[0]
    while before.dropped:
        before = before.sources[0]
    return before if made.shape[1] > before.shape[1] and _hands_on(trace, before, stage) else stage


def _unnormalized(trace: Trace, spine: Spine, stage: Value) -> Value:
    """The residual sum that was normalized to make a stage, if one was."""
    made = spine.maker(stage)
    since = [value for value in spine.crossed if made.index < value.index <= stage.index]
    before = [made, *takewhile(lambda value: not value.normalized, since)][-1]  # laid out as a map, perhaps
    return before if made in spine.sums and before is not stage and _hands_on(trace, before, stage) else stage


def _hands_on(trace: Trace, before: Value, stage: Value) -> bool:
    """Whether a value leaves a block, for `stage` to be made of it elsewhere."""
    leaves = any(before in call.outputs and _is_composite(call) for call in trace.calls)
    repeated = any(stage in call.outputs and _inside(before, call) for call in _repeated(trace))
    return _has_pixels(before) and leaves and not repeated


def _stem(trace: Trace, spine: Spine, first: Value) -> Value | None:
    """The last map outside of the modules that make the first stage, at the shallowest."""
    makers = [call for call in trace.calls if first in call.outputs]
    before = [
        value
        for value in spine.candidates
        if _is_map(value)
        and spine.layers[value] < spine.layers.get(first, 0)
        and not any(_inside(value, maker) for maker in makers)
    ]
    return min(reversed(before), key=depth_of, default=None)


def _blocks(trace: Trace, spine: Spine) -> list[ModuleCall]:
    """The calls of the outermost kind of module that makes hidden states (B, L, D) again and again."""
    kinds: dict[type[nn.Module], list[ModuleCall]] = defaultdict(list)
    for call in trace.calls:
        if _is_composite(call) and call.inputs and call.outputs:
            output = call.outputs[0]
            if output in spine.candidates and len(output.shape) == 3 and output.channels_last:
                kinds[type(call.module)].append(call)
    repeated = [calls for calls in kinds.values() if len(calls) > 1]
    return min(repeated, key=lambda calls: calls[0].path.count("."), default=[])


def _hidden(spine: Spine) -> list[Value]:
    """The hidden layers of a perceptron, after their activations; of any other network none."""
    if any(value.weight and len(value.shape) > 2 for value in spine.layers):
        return []
    return [list(run)[-1] for _, run in groupby(spine.candidates, key=lambda value: spine.layers[value])]


def _quarters(values: list[Value]) -> list[Value]:
    if len(values) <= MOST_STAGES:
        return values
    return [values[ceil(len(values) * part / MOST_STAGES) - 1] for part in range(1, MOST_STAGES + 1)]


def _repeated(trace: Trace) -> list[ModuleCall]:
    """The calls of modules of which the network has several: its blocks, and the layers in them."""
    kinds = Counter(type(module) for module in trace.network.modules())
    return [
        call
        for call in trace.calls
        if kinds[type(call.module)] > 1 and type(call.module) is not nn.Sequential
    ]


def _is_composite(call: ModuleCall) -> bool:
    return next(call.module.children(), None) is not None


def _is_map(value: Value) -> bool:
    return _has_pixels(value) and prod(value.positions) > 1


def _has_pixels(value: Value) -> bool:
    """Whether it is (B, C, H, W), (B, H, W, C) or a signal (B, C, L); in (B, L, D) there are tokens."""
    return len(value.positions) > value.channels_last


def _resizes(call: ModuleCall) -> bool:
    return bool(call.inputs and call.outputs) and call.inputs[0].positions != call.outputs[0].positions


def _inside(value: Value, call: ModuleCall) -> bool:
    return call.start <= value.index < call.end and value not in call.outputs
