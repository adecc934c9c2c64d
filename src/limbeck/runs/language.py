"""Language models in a run: one tokenizer for all networks, and networks that predict the next token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from limbeck import models
from limbeck.config import NetworkConfig
from limbeck.data import Source
from limbeck.data.language.tokenizer import differ
from limbeck.data.preparation import Preparation
from limbeck.data.tokenization import Tokenization
from limbeck.errors import LimbeckError
from limbeck.evaluation.measure import inference
from limbeck.features.calling import call
from limbeck.features.logits import logits_of
from limbeck.outputs import Inputs, apply, named
from limbeck.runs import networks
from limbeck.tasks import Language


def tokens_of(*configs: NetworkConfig) -> Tokenization | None:
    """The tokenizer for the texts of some networks: the first that one of them brings; None if none does.

    Raises:
        LimbeckError: for a network of Hugging Face that is no causal language model.
    """
    for config in configs:
        if models.huggingface.is_hf(config.model):
            models.causal.check_kind(config.model)
    found = (networks.preparation(config, Language) for config in configs)
    return next((reads for reads in found if isinstance(reads, Tokenization)), None)


def check_tokens(reads: Preparation, source: Source, whose: str) -> None:
    """Refuses data that is in other tokens than a network reads, or in longer rows.

    Args:
        reads: what the network reads of a sample.
        source: the data.
        whose: the network, for messages.
    """
    if source.tokens is None or not isinstance(reads, Tokenization):
        return
    if (shown := differ(reads, source.tokens)) is not None:
        raise LimbeckError(
            f"{whose} reads the tokens of {reads.place}, and {source.name} is in those of "
            f"{source.tokens.place}, another tokenizer: {shown}; give networks that share a tokenizer"
        )
    longest = max(tensor.shape[1] for tensor in named(source.example(1)).values())
    if longest > reads.max_length:
        raise LimbeckError(
            f"{whose} reads at most {reads.max_length} tokens at once, and {source.name} has rows of "
            f"{longest}; set block={reads.max_length}"
        )


def check_vocabulary(network: nn.Module, source: Source, whose: str) -> None:
    """Refuses a network that has no embedding for some ids of the data, before it is called with them.

    Args:
        network: of transformers; others are not looked at.
        source: the data.
        whose: the network, for messages.
    """
    embeddings: Any = getattr(network, "get_input_embeddings", None)
    ids = embeddings().weight.shape[0] if callable(embeddings) else source.task.width
    if ids < source.task.width:
        raise LimbeckError(
            f"{whose} knows {ids:,} token ids, and {source.name} has {source.task.summary}; give a network "
            "that was made for its tokenizer"
        )


def check_causal(network: nn.Module, example: Inputs, whose: str, width: int) -> None:
    """Refuses a network whose predictions depend on later tokens, as an encoder's do.

    Args:
        network: afterwards as it was.
        example: a few inputs that it is called with, on its device.
        whose: the network, for messages.
        width: the ids that there are.
    """
    rows = {name: tensor[:1] for name, tensor in named(example).items()}
    ids = next((name for name in ("input_ids", "") if name in rows), None)
    if ids is None or rows[ids].shape[1] < 2:
        return
    changed = rows[ids].clone()
    changed[:, -1] = (changed[:, -1] + 1) % width
    with inference(network):
        before, after = (_logits(network, example, {**rows, ids: each}) for each in (rows[ids], changed))
    earlier = slice(None, -1)
    if not torch.allclose(before[:, earlier], after[:, earlier], rtol=1e-3, atol=1e-4):
        raise LimbeckError(
            f"{whose} predicts from later tokens too, as an encoder does, so it would see what it is to "
            "predict; give a causal language model (a decoder)"
        )


def _logits(network: nn.Module, example: Inputs, rows: Mapping[str, Tensor]) -> Tensor:
    inputs: Inputs = rows[""] if isinstance(example, Tensor) else rows
    return logits_of(call(network, inputs), dense=True)


def head_note(width: int, source: Source, whose: str) -> str | None:
    """A sentence on a head that is wider than the vocabulary; None for any other.

    Args:
        width: how many outputs the network has.
        source: the data.
        whose: the network, for the sentence.
    """
    if not isinstance(source.task, Language) or width <= source.task.width:
        return None
    return (
        f"the head of {whose} has {width:,} outputs and the tokenizer {source.task.width:,} ids; the outputs "
        "beyond them are left out of losses and figures"
    )


def on_device(example: Inputs, network: nn.Module) -> Inputs:
    """The example where the network is."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    return apply(lambda tensor: tensor.to(device), example)
