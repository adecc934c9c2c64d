"""Hugging Face networks in a run: their head beside the data's outputs, and what they read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.config import NetworkConfig
from limbeck.data import Source
from limbeck.data.preparation import Preparation
from limbeck.data.storage.texts import Texts
from limbeck.data.tokenization import Tokenization, tokenization
from limbeck.errors import LimbeckError, listed
from limbeck.models import Normalization, causal, huggingface, normalize_inputs
from limbeck.models.configs import most_tokens
from limbeck.models.encoders import encoder, layout
from limbeck.models.output_order import reorder
from limbeck.outputs import Inputs
from limbeck.pretrained import config_of, stamp
from limbeck.processors import ImageSettings, image_settings, processor_of
from limbeck.runs.matching import canonical, comparable
from limbeck.runs.network_record import Card
from limbeck.tasks import (
    Classification,
    Detection,
    Multilabel,
    Regression,
    Segmentation,
    Task,
    TokenClassification,
)
from limbeck.words import Words

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
        network = huggingface.build(model, example, width, source.facts, task=source.task.name)
        huggingface.name_outputs(network, source.task)
        return network
    with torch.random.fork_rng(devices=[]) if role != "student" else nullcontext():
        if role == "student":
            order = _order(model, source)
            head = None if order or _fits(model, source) else False
            network = huggingface.build(model, example, width, head=head, task=source.task.name)
            if order and not reorder(network, order):
                raise LimbeckError(
                    f"{model} has the outputs of {source.name} in another order, and limbeck does not find "
                    "the layer that makes them; hand the network over in Python"
                )
            huggingface.name_outputs(network, source.task)
        else:
            network = huggingface.build(model, example, head=True, task=source.task.name)
    place = huggingface.read(model).place
    settings, reads = image_settings(place, sized=not source.task.boxed), preparation(config, source.task)
    if isinstance(reads, Tokenization):  # some networks look for the last token that is no padding
        of_network: Any = network.config
        of_network.pad_token_id = reads.tokenizer.pad_token_id
    if settings is not None:
        normalize_inputs(network, Normalization(settings.mean, settings.std))
    return network


def language_model(config: NetworkConfig, role: str, source: Source) -> nn.Module:
    """A causal language model.

    Args:
        config: of the network.
        role: what it is.
        source: the data.
    """
    with torch.random.fork_rng(devices=[]) if role != "student" else nullcontext():
        network = causal.build(config.model, source.facts)
    if source.tokens is not None and not huggingface.read(config.model).brings_weights:
        causal.name_tokens(network, source.tokens.tokenizer)
    return network


def head_note(model: str, source: Source) -> str | None:
    """A sentence for a student whose head is not as the data has its outputs; None for any other."""
    labels = huggingface.labels_of(model)
    if labels is None or _fits(model, source):
        return None
    if _order(model, source):
        return (
            f"the head of the student {model} has the outputs of {source.name} in another order, "
            f"{listed(labels)}; it is kept, in the order of the data"
        )
    theirs, ours = huggingface.decides(model), _decides(source.task)
    if theirs is not None and theirs != ours:
        one, other = ("a sample" if each == "sample" else f"each {each}" for each in (theirs, ours))
        what = f"has one answer for {one}, and {source.name} needs one for {other}"
    else:
        what = f"is for other outputs ({listed(labels)}) than {source.name} has"
    return f"the head of the student {model} {what}, so it begins with a fresh one"


def number_note(model: str, source: Source, whose: str) -> str | None:
    """A sentence for a head whose outputs have numbers for names, where the data has words; None otherwise.

    Args:
        model: as a config names it.
        source: the data.
        whose: what messages call the network.
    """
    labels = huggingface.labels_of(model) if huggingface.is_hf(model) else None
    numbers = tuple(map(str, range(source.task.width)))
    if labels != numbers or source.task.outputs == numbers:
        return None
    return (
        f"{whose} {model} calls its outputs LABEL_0 to LABEL_{len(numbers) - 1}, so they are taken for "
        f"{listed(source.task.outputs)} in this order; set id2label in its config.json to have them matched "
        "by name"
    )


def _fits(model: str, source: Source) -> bool:
    """Whether a head is of the data's kind and has its outputs in their order, as far as their names say."""
    theirs, ours = canonical(huggingface.labels_of(model) or ()), canonical(source.task.outputs)
    if huggingface.decides(model) != _decides(source.task):
        return False
    return len(theirs) == len(ours) and (theirs == ours or not comparable(theirs, ours))


def _order(model: str, source: Source) -> list[int]:
    """For each output of the data, which of a head's it is; empty unless the order alone is another."""
    theirs, ours = canonical(huggingface.labels_of(model) or ()), canonical(source.task.outputs)
    alike = huggingface.decides(model) == _decides(source.task) and comparable(theirs, ours)
    if not alike or theirs == ours or sorted(theirs) != sorted(ours):
        return []
    return [theirs.index(name) for name in ours]


def code_note(model: str, whose: str) -> str | None:
    """A sentence for a folder that names code of its own for its network; None for any other.

    Args:
        model: as a config names it.
        whose: what messages call the network.
    """
    if not huggingface.is_hf(model):
        return None
    named = huggingface.read(model)
    if not named.brings_weights or not getattr(config_of(named.place), "auto_map", None):
        return None
    return (
        f"{model}, {whose}, names code of its own (auto_map in its config.json), which limbeck never runs; "
        "the network is the one that transformers has for it, so check that its figures are those you know"
    )


def _decides(task: Task) -> huggingface.Decision:
    """What a task needs one answer for."""
    return huggingface.DECISIONS.get(task.name, "sample")


def card_of(model: str) -> Card | None:
    """What is known of the outputs of a network that brings a head: their names."""
    labels = huggingface.labels_of(model)
    if labels is None:
        return None
    config = config_of(huggingface.read(model).place)
    usual = "regression" if len(labels) == 1 else "classification"
    name = huggingface.TASKS.get(config.problem_type, usual)
    decided = huggingface.decides(model)
    task = _task(name, labels) if decided in (None, "sample") else _DENSE[decided](labels)
    return Card(model=model, task=task.record(), input_shape={"input_ids": (1,)}, mean=None, std=None)


_DENSE: dict[str, Callable[[tuple[str, ...]], Task]] = {
    "token": TokenClassification,
    "pixel": Segmentation,
    "object": Detection,
}
"""The task that a head is for which has one answer for each of these."""


def _task(name: str, labels: tuple[str, ...]) -> Task:
    if name == "regression":
        return Regression(labels, (0.0,) * len(labels), (1.0,) * len(labels))
    return Multilabel(labels) if name == "multilabel" else Classification(labels)


def preparation(config: NetworkConfig, task: Task | type[Task]) -> Preparation:
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
    if (settings := image_settings(named.place, sized=not task.boxed)) is not None:
        return _boxed(config, settings) if task.boxed else _images(config, named.place, settings, task)
    if task.spatial:
        return Preparation(config.size)
    if config.size is not None:
        raise LimbeckError(f"{config.model} reads texts, and size={config.size} is of images; leave it out")
    return tokenization(
        named.place,
        most_tokens(named.place),
        named.max_length,
        named.pad_token,
        add_prefix_space=named.add_prefix_space,
    )


def _boxed(config: NetworkConfig, settings: ImageSettings) -> Preparation:
    """What a network that finds objects reads: images as the data has them, in whose pixels the boxes are."""
    return Preparation(config.size, flipped=settings.flipped)


def size_note(model: str, source: Source, whose: str) -> str | None:
    """A sentence for a network that finds objects and whose image processor resizes images; None otherwise.

    Args:
        model: as a config names it.
        source: the data.
        whose: what messages call the network.
    """
    if not source.task.boxed or not huggingface.is_hf(model):
        return None
    place = huggingface.read(model).place
    if image_settings(place, sized=False) is None or not processor_of(place).to_dict().get("do_resize"):
        return None
    return (
        f"{whose} {model} reads images as {source.name} has them, and its image processor would resize them "
        "first; it finds most at the size that it was trained at, which resize= of the data sets"
    )


def _images(
    config: NetworkConfig, place: str, settings: ImageSettings, task: Task | type[Task]
) -> Preparation:
    """What a network reads of images: what its image processor makes of them, or another size."""
    if config.size is not None:
        return Preparation(config.size, resample=settings.resample, flipped=settings.flipped)
    if settings.crop is not None and task.spatial:
        raise LimbeckError(
            f"the image processor of {place!r} crops images, and what it cuts off has labels too; set the "
            "size that the network reads, student.size or teacher.size"
        )
    shortest = isinstance(settings.size, int)
    made = Preparation(settings.size, shortest, settings.resample, settings.crop, settings.flipped)
    _check_alike(place, stamp(place), made, settings)
    return made


@lru_cache(maxsize=32)
def _check_alike(place: str, stamp: object, made: Preparation, settings: ImageSettings) -> None:
    """Refuses an image processor that does something else to an image than its settings say."""
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (settings.mean, settings.std))
    rows, columns, channel = torch.linspace(0, 9, 301), torch.linspace(0, 7, 421), torch.arange(len(mean))
    wave = torch.sin(rows[:, None] + channel[:, None, None]) * torch.cos(columns)
    image = (127 + 90 * wave).round().to(torch.uint8)
    processor = processor_of(place)
    given = processor(image.numpy(), return_tensors="pt", input_data_format="channels_first")
    ours, theirs = made(image[None].float() / 255), given["pixel_values"][0] * std + mean
    assert isinstance(ours, Tensor), "it is of an image"
    if ours[0].shape != theirs.shape or (ours[0] - theirs).abs().max() > ROUNDED:
        raise LimbeckError(
            f"the image processor of {place!r}, {type(processor).__name__}, does more to images than to "
            "resample, crop, rescale and normalize them, which limbeck does not follow; hand the network "
            "over in Python"
        )


ROUNDED = 2.5 / 255
"""How far pixels may be off where a processor rounds them to 8 bits after each pass of its resampling."""


def of_encoder(named: huggingface.Pretrained) -> Tokenization:
    """What an encoder reads: with its prompts, and without special tokens where it is a table of tokens."""
    found = layout(named.place)
    if found.kind == "static":
        return tokenization(found.place, UNBOUNDED, named.max_length, named.pad_token, special=False)
    most = min(most_tokens(named.place), found.max_length or UNBOUNDED)
    made = tokenization(found.place, most, named.max_length, named.pad_token, lower_case=found.lower_case)
    return replace(made, prompts=tuple(sorted(found.prompts.items())))


def tokens_of_static(source: str) -> Tokenization:
    """What static embeddings of an encoder read: its tokens, without special ones."""
    found = layout(source)
    return tokenization(found.place, UNBOUNDED, special=False, lower_case=found.lower_case)


MUCH_UNKNOWN = 0.05
"""Share of unknown tokens from which on a run tells of it."""


def cut_note(reads: Preparation, source: Source, whose: str) -> str | None:
    """A sentence on how many texts are longer than a network reads, or words lost; None if none is.

    Args:
        reads: what the network reads of a sample.
        source: the data.
        whose: the network, for the sentence.
    """
    samples = source.train.samples
    if isinstance(samples, Texts) and isinstance(samples.inputs, Words):
        lost = (
            reads.share_lost(samples)
            if isinstance(reads, Tokenization)
            else samples.lost_by(samples.inputs.first)
        )
        most = reads.max_length if isinstance(reads, Tokenization) else samples.inputs["input_ids"].shape[1]
        said = (
            f"{100 * lost:.3g} % of the words are not among the {most} tokens of a sentence that {whose} "
            "reads; nothing is learned from them, and they count as answered O"
        )
        return said if lost else None
    if not isinstance(reads, Tokenization) or not (share := reads.share_cut(samples)):
        return None
    return (
        f"{100 * share:.3g} % of the texts are longer than the {reads.max_length} tokens that {whose} reads, "
        "and are cut"
    )


def unknown_note(reads: Preparation, source: Source, whose: str) -> str | None:
    """A sentence on how much of the texts a tokenizer does not know; None where it is little.

    Args:
        reads: what the network reads of a sample.
        source: the data.
        whose: the network, for the sentence.
    """
    share = reads.share_unknown(source.train.samples) if isinstance(reads, Tokenization) else 0.0
    if share < MUCH_UNKNOWN:
        return None
    return (
        f"{100 * share:.3g} % of the tokens that {whose} reads are the one for what its tokenizer does not "
        "know, and are all alike to it; texts of this language, or with these capitals, may need another "
        "tokenizer"
    )
