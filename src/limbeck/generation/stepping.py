"""Incremental decoding: the logits of a few more tokens, with what came before in a cache."""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from limbeck.features.calling import call, uncompiled
from limbeck.features.logits import logits_of


class Stepper(Protocol):
    """A causal language model that reads texts piece by piece, each text of a batch at its own place.

    What was read stays readable, unless a later call says that it is not: tokens that were tried and dropped
    are hidden then.
    """

    def __call__(self, ids: Tensor, positions: Tensor, visible: Tensor, keep: int) -> Tensor:
        """Reads n more tokens of each text.

        Args:
            ids: (B, n) the tokens.
            positions: (B, n) the place of each in its text, from 0.
            visible: (B, m + n) bool, which of all tokens that were read so far, these included, count.
            keep: k, at most n.
        Returns: (B, k, V) logits of what follows each of the last k of them.
        """


def stepper(network: nn.Module) -> Stepper:
    """The quickest way to read with a network: with its cache, if it has one, or all over again.

    A network that is not of `transformers` may say how, in a method `incremental()` that returns a stepper,
    and in an attribute `most_tokens` how long a text may be.

    Args:
        network: a causal language model, in eval mode.
    """
    network = uncompiled(network)
    incremental: Any = getattr(network, "incremental", None)
    if callable(incremental):
        made: Stepper = incremental()
        return made
    return _Cached(network) if _keeps_cache(network) else _Again(network)


def most_tokens(network: nn.Module) -> int | None:
    """How many tokens of a text a network reads at most, if it or its config says so."""
    network = uncompiled(network)
    own: int | None = getattr(network, "most_tokens", None)
    positions: int | None = getattr(getattr(network, "config", None), "max_position_embeddings", None)
    return own if positions is None else positions - _passed_over(network, positions)


def _passed_over(network: nn.Module, positions: int) -> int:
    """The positions before that of the first token: those up to that of padding, as in RoBERTa."""
    for path, module in network.named_modules():
        is_of_positions = isinstance(module, nn.Embedding) and "position" in path.rpartition(".")[2]
        if is_of_positions and module.padding_idx is not None and len(module.weight) == positions:
            return int(module.padding_idx) + 1
    return 0


def _keeps_cache(network: nn.Module) -> bool:
    """Whether a network of `transformers` keeps keys and values, all of them: a window would shift.

    It must count positions from 0 as well, at which texts are read here.
    """
    config: Any = getattr(network, "config", None)
    if not type(network).__module__.startswith("transformers.models.") or config is None:
        return False
    if "past_key_values" not in inspect.signature(network.forward).parameters:
        return False
    if _passed_over(network, getattr(config, "max_position_embeddings", 0)):
        return False
    kinds = set(getattr(config, "layer_types", None) or ("full_attention",))
    window = getattr(config, "sliding_window", None) if "layer_types" not in config.to_dict() else None
    return kinds == {"full_attention"} and not window and bool(getattr(config, "use_cache", True))


class _Cached:
    """Keys and values of all that was read stay in the network's cache; what is not visible is masked."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._keeps_some = "logits_to_keep" in inspect.signature(network.forward).parameters
        self._past: Any = None

    def __call__(self, ids: Tensor, positions: Tensor, visible: Tensor, keep: int) -> Tensor:
        result = self._network(
            input_ids=ids,
            position_ids=positions,
            attention_mask=visible.long(),
            past_key_values=self._past,
            use_cache=True,
            **({"logits_to_keep": keep} if self._keeps_some else {}),
        )
        self._past = result.past_key_values
        logits: Tensor = result.logits[:, -keep:]
        return logits


class _Again:
    """A network without a cache reads every text from its beginning each time, without what is hidden."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._ids: Tensor | None = None

    def __call__(self, ids: Tensor, positions: Tensor, visible: Tensor, keep: int) -> Tensor:
        self._ids = ids if self._ids is None else torch.cat([self._ids, ids], 1)
        # What is visible moves to the left, so that the network sees a text padded at its end.
        order = (~visible).to(torch.uint8).argsort(dim=1, stable=True)
        packed, mask = self._ids.gather(1, order), visible.gather(1, order)
        longest = int(visible.sum(1).max())
        packed, mask = packed[:, :longest], mask[:, :longest]
        inputs = {"input_ids": packed * mask, "attention_mask": mask.long()}
        logits = logits_of(call(self._network, inputs), dense=True)
        place = order.argsort(1)[:, -keep:].clamp(max=longest - 1)
        return logits.gather(1, place.unsqueeze(-1).expand(-1, -1, logits.shape[-1]))
