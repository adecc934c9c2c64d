"""What language models write when they are given the beginning of a text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.data import Source
from limbeck.evaluation.contenders import Contender
from limbeck.evaluation.measure import inference
from limbeck.evaluation.results import Role, Written
from limbeck.features import call, logits_of
from limbeck.features.calling import uncompiled
from limbeck.models import GPT, KVCache

MOST = 64
"""Tokens that a network writes at most."""


def written(
    source: Source, contenders: Mapping[Role, Contender], device: torch.device | str
) -> Written | None:
    """How each network continues the beginnings of some held-out texts; None for data without any.

    Each token is the most probable one, until a network ends the text or has written `MOST` tokens.

    Args:
        source: the data.
        contenders: by role, on the device.
        device: where they are.
    """
    if source.tokens is None or not source.prompts:
        return None
    tokenizer = source.tokens.tokenizer
    ends = {int(tokenizer.eos_token_id)} if tokenizer.eos_token_id is not None else set()

    def told(ids: Sequence[int]) -> str:
        text: str = tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    texts: dict[Role, tuple[str, ...]] = {}
    for role, each in contenders.items():
        made = []
        for prompt in source.prompts:
            new = greedy(each.network, prompt, MOST, ends, source.task.width, device)
            made.append(told([*prompt, *new])[len(told(prompt)) :])
        texts[role] = tuple(made)
    return Written(beginnings=tuple(map(told, source.prompts)), texts=texts)


def greedy(
    network: nn.Module,
    prompt: Sequence[int],
    most: int,
    ends: Collection[int],
    width: int,
    device: torch.device | str = "cpu",
) -> list[int]:
    """The ids that a language model finds most probable, one after the other, without an end among them.

    Args:
        network: on the device; called in eval mode, its modes are restored.
        prompt: ids to begin with, at least one.
        most: new ids at most.
        ends: ids that end a text.
        width: ids that there are; a head may have more outputs.
        device: where the network is.
    """
    made: list[int] = []
    with inference(network):
        scores = _scores(network)
        ids = torch.tensor([[*prompt]], device=device)
        while len(made) < most:
            best = int(scores(ids)[0, -1, :width].argmax())
            if best in ends:
                break
            made.append(best)
            ids = torch.tensor([[best]], device=device)
    return made


def _scores(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """A function that takes new ids (1, L) after those before, and gives their scores (1, L, V)."""
    plain = uncompiled(network)
    if isinstance(plain, GPT):
        cache = KVCache()
        return lambda ids: plain(ids, cache=cache)
    generates: Any = getattr(plain, "can_generate", None)
    if callable(generates) and generates():
        return _Cached(plain)
    return _Repeated(network)


class _Cached:
    """A network of transformers with the keys and values of the tokens before."""

    def __init__(self, network: Any) -> None:
        self._network, self._before = network, None

    def __call__(self, ids: Tensor) -> Tensor:
        found = self._network(input_ids=ids, past_key_values=self._before, use_cache=True)
        self._before = found.past_key_values
        return logits_of(found, dense=True)


class _Repeated:
    """A network that is shown all tokens anew."""

    def __init__(self, network: nn.Module) -> None:
        self._network, self._before = network, torch.empty(1, 0, dtype=torch.int64)

    def __call__(self, ids: Tensor) -> Tensor:
        self._before = torch.cat([self._before.to(ids.device), ids], 1)
        inputs = {"input_ids": self._before, "attention_mask": torch.ones_like(self._before)}
        return logits_of(call(self._network, inputs), dense=True)
