"""Attention maps of the networks that return them when they are asked to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from limbeck.features.calling import uncompiled

FIELD = "attentions"
"""The output that holds the maps, a tuple of (B, heads, L, L), one of each layer."""


def attends(network: nn.Module) -> bool:
    """Whether a network returns its attention maps if its config says so, as those of Hugging Face do."""
    return bool(_configs(network))


@contextmanager
def attending(network: nn.Module) -> Iterator[None]:
    """A context in which a network that `attends` returns its attention maps; its config is then as it was.

    They are computed as they are written down, and not by a fused form that has no maps.
    """
    before = [(config, config._attn_implementation, config.output_attentions) for config in _configs(network)]
    try:
        for config, _, _ in before:
            config._attn_implementation = "eager"
            config.output_attentions = True
        yield
    finally:
        for config, _, returned in before:
            config.output_attentions = returned
        for config, implementation, _ in before:  # a config passes it on to those inside, which come later
            config._attn_implementation = implementation


def _configs(network: nn.Module) -> list[Any]:
    """The configs of a network and of its parts that say so, each once, from the outside in."""
    found: dict[int, Any] = {}
    for module in uncompiled(network).modules():
        config = getattr(module, "config", None)
        if hasattr(config, "_attn_implementation") and hasattr(config, "output_attentions"):
            found.setdefault(id(config), config)
    return list(found.values())
