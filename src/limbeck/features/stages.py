"""Which values of a trace are a network's embedding, stages, stem and pre-activations."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import groupby
from math import ceil, prod

from torch import nn

from limbeck.features.points import FeaturePoints, Point
from limbeck.features.spine import Spine, depth, nearest
from limbeck.features.trace import ModuleCall, Trace, Value


def choose(trace: Trace, logits: Value) -> FeaturePoints:
    """What a trace shows of a network, besides where its logits are.

    - The embedding is what enters the layer that makes the logits, before dropout.
    - A stage is the last value on the spine at each resolution that is not inside a block on its way to the
      next resolution, not made by a convolution 1x1 that widens the last map for the classifier, and not by a
      normalisation after the last residual sum. Where there are more than three and the first was made
      without any such sum, that is the stem.
    - In a token model the stages are its blocks, in a perceptron its hidden layers; of more than four, those
      at a quarter, half, three quarters and the whole of the depth.
    - Pre-activations are what entered the ReLUs that made the stages, where all were made by one.
    """
    spine = Spine(trace, logits)
    embedding = _embedding(spine, logits)
    if embedding is not None:
        spine.candidates = [value for value in spine.candidates if value.index <= embedding.index]
    stages = _maps(trace, spine)
    stem = _stem(spine, stages[0]) if stages else None
    if len(stages) > 3 and not any(value.index <= stages[0].index for value in spine.sums):
        stem, *stages = stages
    if len(stages) < 2 and (blocks := _blocks(trace, spine)):
        stem, stages = blocks[0].inputs[0], _quarters([block.outputs[0] for block in blocks])
    stages = stages or _quarters(_hidden(spine))
    before = [value.sources[0] for value in stages if value.operation in ("relu", "relu_")]
    found = [value for value in before if value.points]
    return FeaturePoints(
        embedding=nearest(embedding) if embedding and embedding.points else None,
        stages=tuple(nearest(value) for value in stages),
        stem=nearest(stem) if stem and stem.points else None,
        preactivations=tuple(nearest(value) for value in found) if len(found) == len(stages) else (),
    )


def _embedding(spine: Spine, logits: Value) -> Value | None:
    layer = logits
    while layer.weight is None and len(layer.sources) == 1:
        layer = layer.sources[0]
    if layer.weight is None or len(layer.sources) != 1:
        return None
    entering = layer.sources[0]
    call = layer.module
    if not entering.points and call and call.path and call.inputs:  # the layer prepares its input itself
        given = call.inputs[0]
        entering = given if spine.layers.get(given) == spine.layers[entering] else entering
    before = entering
    while before.dropped:
        before = before.sources[0]
        entering = before if before.points else entering
    return entering


def _maps(trace: Trace, spine: Spine) -> list[Value]:
    """The stages of a network that divides its depth by resolution."""
    kinds = Counter(type(module) for module in trace.calls[0].module.modules())
    blocks = [
        call
        for call in trace.calls
        if kinds[type(call.module)] > 1 and type(call.module) is not nn.Sequential and _resizes(call)
    ]
    stages: list[Value] = []
    maps = [value for value in spine.candidates if prod(value.positions) > 1 and not _is_tokens(value)]
    for _, run in groupby(maps, key=lambda value: value.positions):
        outside = [value for value in run if not any(_inside(value, block) for block in blocks)]
        if outside and (not stages or spine.layers[outside[-1]] > spine.layers[stages[-1]]):
            stages.append(outside[-1])
    if stages:
        stages[-1] = _unwidened(spine, stages[-1])
    return [_unnormalised(spine, stage) for stage in stages]
