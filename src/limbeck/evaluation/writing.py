"""What language models write when they are given the beginning of a text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import nn

from limbeck.data import Source
from limbeck.evaluation.contenders import Contender
from limbeck.evaluation.measure import inference
from limbeck.evaluation.results import Role, Written
from limbeck.generation import Drawing, write
from limbeck.tasks import Language

MOST = 64
"""Tokens that a network writes at most."""


def written(
    source: Source, contenders: Mapping[Role, Contender], device: torch.device | str
) -> Written | None:
    """How each network with the data's tokens continues the beginnings of some held-out texts.

    It is None for data without any.

    Each token is the most probable one, until a network ends the text or has written `MOST` tokens.

    Args:
        source: the data.
        contenders: by role, on the device.
        device: where they are.
    """
    if source.tokens is None or not source.prompts:
        return None
    tokenizer = source.tokens.tokenizer
    assert isinstance(source.task, Language)
    ends = set() if source.task.end is None else {source.task.end}

    def told(ids: Sequence[int]) -> str:
        text: str = tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    texts: dict[Role, tuple[str, ...]] = {}
    for role, each in contenders.items():
        if each.told is not None:
            continue  # it does not read these beginnings
        made = greedy(each.network, source.prompts, MOST, ends, source.task.width, device)
        pairs = zip(source.prompts, made, strict=True)
        texts[role] = tuple(told([*prompt, *new])[len(told(prompt)) :] for prompt, new in pairs)
    return Written(beginnings=tuple(map(told, source.prompts)), texts=texts)


def greedy(
    network: nn.Module,
    prompts: Sequence[Sequence[int]],
    most: int,
    ends: Collection[int],
    width: int,
    device: torch.device | str = "cpu",
) -> list[list[int]]:
    """The ids that a language model finds most probable, one after the other, without an end among them.

    Args:
        network: on the device; called in eval mode, its modes are restored.
        prompts: ids to begin with, at least one each.
        most: new ids at most.
        ends: ids that end a text.
        width: ids that there are; a head may have more outputs.
        device: where the network is.
    """
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(each)) + [*each] for each in prompts], device=device)
    mask = torch.tensor([[False] * (longest - len(each)) + [True] * len(each) for each in prompts])
    with inference(network):
        made = write(
            network,
            ids,
            mask.to(ids.device),
            length=most,
            ends=ends,
            noise=lambda role, place: torch.zeros_like(place, dtype=torch.float64),
            drawing=Drawing(temperature=0),
            width=width,
        )
    pairs = zip(made.ids.tolist(), made.lengths.tolist(), strict=True)
    return [[token for token in row[:length] if token not in ends] for row, length in pairs]
