"""Rows that hold several documents, for networks of transformers: no document sees another."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError


def arguments_for(network: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a network is called with for named inputs; other networks than causal ones of transformers as is.

    Those get no cache of keys and values, and a mask (B, 1, L, L) where `position_ids` are among the inputs
    and the `attention_mask` (B, L) numbers documents.

    Args:
        network: any network, not compiled.
        inputs: named tensors.
    Raises:
        LimbeckError: for a network whose attention takes no such mask.
    """
    generates = getattr(network, "can_generate", None)
    config: Any = getattr(network, "config", None)
    kind = getattr(config, "_attn_implementation", None)
    if kind is None or not callable(generates) or not generates():
        return dict(inputs)
    made: dict[str, Any] = {**inputs, "use_cache": False}
    numbers = inputs.get("attention_mask")
    if "position_ids" not in inputs or numbers is None or numbers.ndim != 2:
        return made
    name, length = type(network).__name__, numbers.shape[1]
    if "position_ids" not in inspect.signature(network.forward).parameters:
        raise LimbeckError(
            f"{name} takes no position_ids, so documents in one row would be mixed; take a document a row, "
            "pack=false"
        )
    window = getattr(config, "sliding_window", None)
    if window is not None and window < length and getattr(config, "use_sliding_window", True):
        raise LimbeckError(
            f"{name} attends to {window} tokens, and rows of {length} hold several documents; take a block "
            f"of at most {window} tokens, or pack=false"
        )
    seen = within_documents(numbers)
    if kind == "sdpa":
        made["attention_mask"] = seen
    elif kind == "eager":
        dtype = next(each.dtype for each in network.parameters() if each.is_floating_point())
        zeros = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
        made["attention_mask"] = zeros.masked_fill(~seen, torch.finfo(dtype).min)
    else:
        raise LimbeckError(
            f"{name} computes attention by {kind}, which takes no mask of documents; load it with "
            "attn_implementation sdpa or eager, or take pack=false"
        )
    return made


def within_documents(numbers: Tensor) -> Tensor:
    """(B, 1, L, L) bool, which tokens each one sees: itself and those before it in the same document.

    Args:
        numbers: (B, L) int64 number of the document that each token is in; 0 for padding, which sees padding.
    """
    length = numbers.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=numbers.device).tril()
    return ((numbers[:, :, None] == numbers[:, None]) & before)[:, None]


def places(numbers: Tensor) -> Tensor:
    """(B, L) int64 place of each token in its document, from 0; see `within_documents`."""
    place = torch.arange(numbers.shape[1], device=numbers.device).expand_as(numbers)
    first = torch.ones_like(numbers, dtype=torch.bool)
    first[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
    return place - torch.where(first, place, 0).cummax(1).values
