"""The teacher's classifier and the pooling before it, for methods that reuse them.

Both are found by what they do to the example, so that what a network calls them, and what lies between, does
not matter.
"""

from __future__ import annotations

from itertools import product
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import order_of
from limbeck.methods.declarations import Context
from limbeck.methods.parts.blocks import full_precision
from limbeck.methods.parts.stages import pooled

TOLERANCE = 1e-2
"""How far what is found may be off, over the largest number there is: half precision rounds that much."""


def classifier_of_teacher(method: str, context: Context) -> nn.Linear:
    """A frozen copy of the linear layer, or 1x1 convolution, that makes the teacher's logits.

    Args:
        method: its name, for messages.
        context: what the method is bound to; it reads the teacher's embedding and logits.
    Raises:
        LimbeckError: for a teacher without a network, and for one with no such layer.
    """
    teacher, network = context.teacher, context.teacher_network
    assert teacher is not None
    if network is None:
        raise LimbeckError(f"{method} reuses the teacher's classifier; give the teacher as a network")
    embedding, logits = full_precision(teacher.embedding), full_precision(teacher.logits)
    order = order_of(network)  # of the logits among the classifier's outputs, where they were matched by name
    shape = logits.shape[1], embedding.shape[1]
    for module in network.modules():
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        if not isinstance(weight, Tensor) or weight.ndim < 2 or weight[0, 0].numel() != 1:
            continue
        if order is not None and len(weight) > max(order):
            weight, bias = weight[list(order)], None if bias is None else bias[list(order)]
        if weight.shape[:2] != shape:
            continue
        matrix = weight.detach().flatten(1).to(embedding)
        offset = bias.detach().to(embedding) if isinstance(bias, Tensor) else None
        if _agree(F.linear(embedding, matrix, offset), logits):
            return _frozen(matrix, offset)
    raise LimbeckError(
        f"{method} reuses the teacher's classifier, one linear layer from the embedding to the logits, and "
        f"{type(network).__name__} has none that makes its {logits.shape[1]} logits of the embedding of "
        f"{embedding.shape[1]}; name the embedding it takes with teacher_features={{'embedding': ...}}"
    )


def grid_of_teacher(context: Context) -> tuple[int, int] | None:
    """Height and width that the teacher averages its last map to for its embedding; None if it does not.

    Args:
        context: what the method is bound to; it reads the teacher's embedding, and stages ending in a map.
    """
    assert context.teacher is not None
    maps, embedding = full_precision(context.teacher.stages[-1]), full_precision(context.teacher.embedding)
    _, channels, height, width = maps.shape
    grids = product(range(1, height + 1), range(1, width + 1))
    for high, wide in (grid for grid in grids if channels * prod(grid) == embedding.shape[1]):
        if _agree(pooled(maps, high, wide).flatten(1), embedding):
            return high, wide
    return None


def _frozen(matrix: Tensor, offset: Tensor | None) -> nn.Linear:
    classes, width = matrix.shape
    classifier = nn.Linear(width, classes, bias=offset is not None, device="meta")  # draws no random numbers
    classifier.weight = nn.Parameter(matrix.clone())
    if offset is not None:
        classifier.bias = nn.Parameter(offset.clone())
    return classifier.requires_grad_(False)


def _agree(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max())
