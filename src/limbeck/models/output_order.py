"""The outputs of a Hugging Face network in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


def reorder(network: Any, order: Sequence[int]) -> bool:
    """Puts the rows of the layer that makes the logits in another order; returns whether it was found.

    Args:
        network: a network of transformers with a head.
        order: for each new output, which of the old ones it is.
    """
    base = network.base_model
    inside = set(base.modules()) if base is not network else set()
    heads = [
        each
        for each in network.modules()
        if isinstance(each, (nn.Linear, nn.Conv2d)) and len(each.weight) == len(order) and each not in inside
    ]
    if len(heads) != 1:
        return False
    rows = torch.tensor(order)
    with torch.no_grad():
        for values in heads[0].parameters():
            values.copy_(values[rows])
    return True
