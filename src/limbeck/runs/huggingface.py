"""Hugging Face networks in a run: their head beside the data's outputs, and what they read."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from limbeck.config import NetworkConfig
from limbeck.data import Source
from limbeck.data.preparation import Preparation
from limbeck.data.tokenization import Tokenization, tokenization
from limbeck.errors import LimbeckError
from limbeck.models import Normalization, huggingface, normalize_inputs
from limbeck.models.encoders import encoder, layout
from limbeck.outputs import Inputs
from limbeck.pretrained import config_of, image_settings
from limbeck.runs.matching import canonical, comparable, listed
from limbeck.runs.network_record import Card
from limbeck.tasks import Classification, Multilabel, Regression, Task

UNBOUNDED = 1 << 20
"""Tokens of a text, at most, where a network reads as many as there are."""


def build(config: NetworkConfig, role: str, source: Source, example: Inputs) -> nn.Module:
    """The network: a teacher with the head that it brings, a student with that or a fresh one.

    Args:
        config: of the network.
        role: what it is.
        source: the data.
        example: inputs it will get.
    """
    model, width = config.model, source.task.width
    if source.task.embeds:
        with torch.random.fork_rng(devices=[]):
            return encoder(model)
    if not huggingface.read(model).brings_weights:
        network = huggingface.build(model, example, width, source.facts)
        huggingface.name_outputs(network, source.task)
        return network
    with torch.random.fork_rng(devices=[]) if role != "student" else nullcontext():
        if role == "student":
            head = None if _fits(huggingface.labels_of(model), source) else False
            network = huggingface.build(model, example, width, head=head)
            huggingface.name_outputs(network, source.task)
        else:
            network = huggingface.build(model, example, head=True)
    settings, reads = image_settings(huggingface.read(model).place), preparation(config, source.task)
    if isinstance(reads, Tokenization):  # some networks look for the last token that is no padding
        of_network: Any = network.config
        of_network.pad_token_id = reads.tokenizer.pad_token_id
    if settings is not None:
        normalize_inputs(network, Normalization(settings.mean, settings.std))
    return network


def head_note(model: str, source: Source) -> str | None:
    """A sentence for a student whose head is for other outputs than the data's; None for any other."""
    labels = huggingface.labels_of(model)
    if labels is None or _fits(labels, source):
        return None
    return (
        f"the head of the student {model} is for other outputs ({listed(labels)}) than {source.name} has, so "
        "it begins with a fresh one"
    )


def _fits(labels: tuple[str, ...] | None, source: Source) -> bool:
    """Whether a head has the data's outputs in their order, as far as their names say."""
    theirs, ours = canonical(labels or ()), canonical(source.task.outputs)
    return len(theirs) == len(ours) and (theirs == ours or not comparable(theirs, ours))


def card_of(model: str) -> Card | None:
    """What is known of the outputs of a network that brings a head: their names."""
    labels = huggingface.labels_of(model)
    if labels is None:
        return None
    config = config_of(huggingface.read(model).place)
    usual = "regression" if len(labels) == 1 else "classification"
    task = _task(huggingface.TASKS.get(config.problem_type, usual), labels)
    return Card(model=model, task=task.record(), input_shape={"input_ids": (1,)}, mean=None, std=None)


def _task(name: str, labels: tuple[str, ...]) -> Task:
    if name == "regression":
        return Regression(labels, (0.0,) * len(labels), (1.0,) * len(labels))
    return Multilabel(labels) if name == "multilabel" else Classification(labels)


def preparation(config: NetworkConfig, task: Task) -> Preparation:
    """What the network reads: tokens of its own tokenizer, or images at its own size.

    Args:
        config: of the network.
        task: what it is for; an encoder reads as many tokens as its folder says.
    Raises:
        LimbeckError: for a folder that holds neither a tokenizer nor the settings of an image processor.
    """
    named = huggingface.read(config.model)
    if not named.brings_weights:
        return Preparation(config.size)
    if task.embeds:
        return of_encoder(named)
    if (settings := image_settings(named.place)) is not None:
        return Preparation(config.size or settings.size)
    if config.size is not None:
        raise LimbeckError(f"{config.model} reads texts, and size={config.size} is of images; leave it out")
    most = huggingface.most_tokens(named.place)
    return tokenization(named.place, most, named.max_length, named.pad_token)


def of_encoder(named: huggingface.Pretrained) -> Tokenization:
    """What an encoder reads: with its prompts, and without special tokens where it is a table of tokens."""
    found = layout(named.place)
    if found.kind == "static":
        return tokenization(found.place, UNBOUNDED, named.max_length, named.pad_token, special=False)
    most = min(huggingface.most_tokens(named.place), found.max_length or UNBOUNDED)
    made = tokenization(found.place, most, named.max_length, named.pad_token)
    return replace(made, prompts=tuple(sorted(found.prompts.items())))


def tokens_of_static(source: str) -> Tokenization:
    """What static embeddings of an encoder read: its tokens, without special ones."""
    return tokenization(layout(source).place, UNBOUNDED, special=False)


def cut_note(reads: Preparation, source: Source, whose: str) -> str | None:
    """A sentence on how many texts are longer than a network reads; None if none is.

    Args:
        reads: what the network reads of a sample.
        source: the data.
        whose: the network, for the sentence.
    """
    if not isinstance(reads, Tokenization) or not (share := reads.share_cut(source.train.samples)):
        return None
    return (
        f"{100 * share:.3g} % of the texts are longer than the {reads.max_length} tokens that {whose} reads, "
        "and are cut"
    )
