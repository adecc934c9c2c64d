"""A smaller network of the same family, from some of a Hugging Face network's layers."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from limbeck.errors import LimbeckError

_OF_DECODERS = ("decoder_layers", "num_decoder_layers")
"""What configs call the number of a decoder's layers."""

Keep: TypeAlias = Literal["even", "first", "last"]
"""Which of the layers a number of them means: spread from the first to the last, or those at one end."""


def fewer_layers(network: Any, layers: int | Sequence[int], keep: Keep, spec: str) -> nn.Module:
    """A network with some of the layers, and all else: embeddings, head, weights.

    DistilBERT starts from its teacher like this (Sanh et al. 2019, arXiv:1910.01108, section 2).

    Args:
        network: of `transformers`, with its layers in one list; of an encoder with a decoder, those of the
            decoder are chosen alike where it has as many, and all kept where it has not.
        layers: how many to keep, or their positions from 0.
        keep: which ones a number means: "even" (spread from the first to the last), "first" or "last".
        spec: the network's name, for messages.
    Raises:
        LimbeckError: for more layers than there are, a network whose layers are in no list, and layers that
            do not fit in the places where they would come, as the first layer is made otherwise in some
            families.
    """
    depth: int | None = getattr(network.config, "num_hidden_layers", None)
    lists = {
        path: module
        for path, module in network.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    }
    if depth is None or not lists:
        raise LimbeckError(f"{spec}: the layers of {type(network).__name__} are in no list to choose among")
    kept = chosen(layers, keep, depth, spec)
    config = copy.deepcopy(network.config)
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == depth and name.startswith("layer"):
            setattr(config, name, [value[position] for position in kept])
    config.num_hidden_layers = len(kept)
    for name in _OF_DECODERS:
        if getattr(config, name, None) == depth:  # so its layers are among those that are renumbered
            setattr(config, name, len(kept))
    with torch.random.fork_rng(devices=[]):  # its weights are overwritten at once
        small: nn.Module = type(network)(config)
    try:
        small.load_state_dict(_renumbered(network.state_dict(), lists, kept))
    except RuntimeError as error:
        raise LimbeckError(
            f"{spec}: the layers {kept} of {type(network).__name__} have other weights than the first "
            f"{len(kept)}, in whose places they would come; begin with the first layer, such as layers=[0, "
            "...], or keep all"
        ) from error
    return small


def chosen(layers: int | Sequence[int], keep: Keep, depth: int, spec: str) -> list[int]:
    """The positions of the layers that are kept, from 0."""
    if not isinstance(layers, int):
        if not layers or any(not 0 <= each < depth for each in layers) or len({*layers}) < len(layers):
            raise LimbeckError(
                f"{spec}: layers should be different positions from 0 to {depth - 1}, not {[*layers]}"
            )
        return [*layers]
    if layers > depth:
        raise LimbeckError(f"{spec} has {depth} layers, so {layers} of them cannot be kept")
    if keep == "even":
        places = torch.linspace(0, depth - 1, layers, dtype=torch.float64).round()
        return [0] if layers == 1 else [int(place) for place in places]
    if keep == "first":
        return [*range(layers)]
    return [*range(depth - layers, depth)]


def _renumbered(state: dict[str, Any], lists: dict[str, Any], kept: list[int]) -> dict[str, Any]:
    """The state with the kept layers counted anew, and without the others."""
    places = {old: new for new, old in enumerate(kept)}
    inside = re.compile(rf"({'|'.join(map(re.escape, lists))})\.(\d+)\.(.*)")
    found = {}
    for key, tensor in state.items():
        match = inside.fullmatch(key)
        if match is None:
            found[key] = tensor
        elif int(match[2]) in places:
            found[f"{match[1]}.{places[int(match[2])]}.{match[3]}"] = tensor
    return found
