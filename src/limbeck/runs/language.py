"""Language models in a run: one tokenizer for all networks, and networks that predict the next token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from limbeck import models
from limbeck.checks import ALIGNED, read_by
from limbeck.config import NetworkConfig
from limbeck.data import Source
from limbeck.data.language.retelling import in_tokens
from limbeck.data.language.tokenizer import differ
from limbeck.data.preparation import Preparation
from limbeck.data.storage.sequences import Sequences
from limbeck.data.tokenization import Tokenization
from limbeck.errors import LimbeckError
from limbeck.evaluation.measure import inference
from limbeck.features.calling import call
from limbeck.features.logits import logits_of
from limbeck.methods import Method
from limbeck.outputs import UNLABELED, Inputs, apply, named
from limbeck.retold import APART
from limbeck.runs import preparations
from limbeck.tasks import Language


def tokens_of(*configs: NetworkConfig) -> Tokenization | None:
    """The tokenizer for the texts of some networks: the first that one of them brings; None if none does.

    Raises:
        LimbeckError: for a network of Hugging Face that is no causal language model.
    """
    for config in configs:
        if models.huggingface.is_hf(config.model):
            models.causal.check_kind(config.model)
    found = (preparations.preparation(config, Language) for config in configs)
    return next((reads for reads in found if isinstance(reads, Tokenization)), None)


def as_read(reads: Preparation, source: Source, whose: str, *, aligned: bool = False) -> Source:
    """The data in the tokens that a network reads; it is the data itself where these are its own.

    Args:
        reads: what the network reads of a sample.
        source: the data.
        whose: the network, for messages.
        aligned: whether what learns from the network takes other tokens than the data's.
    Raises:
        LimbeckError: for other tokens where these are not aligned, and for longer rows than it reads.
    """
    if source.tokens is None or not isinstance(reads, Tokenization):
        return source
    if (shown := differ(reads, source.tokens)) is not None:
        if not aligned:
            raise LimbeckError(
                f"{whose} reads the tokens of {reads.place}, and {source.name} is in those of "
                f"{source.tokens.place}, another tokenizer: {shown}; give networks that share a tokenizer, "
                f"or {ALIGNED}"
            )
        source = in_tokens(source, reads) or source
    samples = source.train.samples
    assert isinstance(samples, Sequences)
    longest = int(samples.tokens.lengths.max())
    if longest > reads.max_length:
        remedy = "take a smaller block" if shown else f"set block={reads.max_length}"
        raise LimbeckError(
            f"{whose} reads at most {reads.max_length} tokens at once, and {source.name} has rows of "
            f"{longest}{' of them' if shown else ''}; {remedy}"
        )
    return source


def aligned_note(reads: Preparation, source: Source, whose: str) -> str:
    """A sentence on a network with a tokenizer of its own.

    Args:
        reads: what it reads of a sample.
        source: the data, in other tokens.
        whose: the network, for the sentence.
    """
    samples = source.train.samples
    assert isinstance(reads, Tokenization)
    assert isinstance(samples, Sequences)
    assert samples.documents is not None
    told = samples.documents.retold(reads)
    assert told is not None
    inside = int((told.beside.values["own_spans"] != APART).sum())
    learned = int((source.train.targets != UNLABELED).sum())
    return (
        f"{whose} has a tokenizer of its own; {100 * inside / learned:.3g} % of the tokens in the loss are "
        "in spans of text that both have tokens of"
    )


def aligns(objective: Method, name: str, first: str) -> bool:
    """Whether all that an objective learns from a teacher takes other tokens than the student's.

    Args:
        objective: what is minimized.
        name: the teacher's.
        first: the name of the teacher that a method learns from which names none.
    """
    return all(method.retold for method in read_by(objective, name, first))


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
    given = named(example)
    ids = next((name for name in ("input_ids", "") if name in given), None)
    if ids is None:
        return
    lengths = given.get("attention_mask", torch.ones_like(given[ids])).ne(0).sum(1)
    longest = int(lengths.argmax())
    last = int(lengths[longest]) - 1  # what follows is padding, which no network looks at
    rows = {name: tensor[longest : longest + 1] for name, tensor in given.items()}
    if last < 1:
        return
    changed = rows[ids].clone()
    changed[:, last] = (changed[:, last] + 1) % width
    with inference(network):
        before, after = (_logits(network, example, {**rows, ids: each}) for each in (rows[ids], changed))
    earlier = slice(None, last)
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
