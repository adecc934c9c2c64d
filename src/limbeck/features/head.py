"""Finds the last layer of a network whose logits can be computed a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from limbeck.features.calling import uncompiled, undisturbed
from limbeck.features.points import FeaturePoints, Head
from limbeck.features.tap import Tap
from limbeck.outputs import Inputs
from limbeck.words import Words


def find_head(network: nn.Module, points: FeaturePoints, example: Inputs) -> Head | None:
    """The last layer of a network with positions; None where its logits are not those of a linear layer.

    What the layer gives may be scaled or capped, as the config of a network of `transformers` says. Whether
    that is all, two forwards show: the logits must be those that the layer gives of its input.

    Args:
        network: the network.
        points: what `find` found in it.
        example: a few inputs.
    """
    network, point = uncompiled(network), points.embedding
    if isinstance(example, Words):
        return None  # of a word's tokens one alone answers
    if point is None or point.side != "input" or point.call or isinstance(point.item, str):
        return None
    layer = network.get_submodule(point.path)
    if type(layer) is not nn.Linear:
        return None
    with undisturbed(network, example), torch.no_grad():
        logits = Tap(network, points, ())(example).logits.float()
    if logits.ndim != 3 or logits.shape[2] != layer.out_features:
        return None
    config = getattr(network, "config", None)
    softcap = getattr(config, "final_logit_softcapping", None)
    for scale in _scales(config):
        head = Head(point.path, scale, softcap)
        with undisturbed(network, example), torch.no_grad():
            projection = Tap(network, points, (), head=head)(example)["projection"]
        if projection.hidden.ndim != 3 or projection.hidden.shape[:2] != logits.shape[:2]:
            return None
        if (projection[:] - logits).abs().max() <= 1e-5 * logits.abs().max():
            return head
    return None


def _scales(config: Any) -> Iterator[float]:
    """The factors that logits may have: none, or one of those that configs of `transformers` name."""
    yield 1.0
    if divisor := getattr(config, "logits_scaling", None):
        yield 1.0 / divisor
    if factor := getattr(config, "logit_scale", None):
        yield float(factor)
