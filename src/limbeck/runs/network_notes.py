"""Sentences on what is assumed of a network's inputs and outputs."""

from __future__ import annotations

from torch import nn

from limbeck import models
from limbeck.config import NetworkConfig
from limbeck.data import Source
from limbeck.models import zoos
from limbeck.runs import huggingface
from limbeck.runs.network_names import called, card_of, is_fresh, is_of_a_run, key_of, matching, members_of
from limbeck.runs.network_record import sample_shape
from limbeck.runs.preparations import example, preparation
from limbeck.runs.schedules import last_of, schedule_of

LARGE = 10.0
"""Mean or standard deviation of a column from which on a run tells that nothing standardizes it."""

BY_HAND = "limbeck.models.normalize_inputs(network, limbeck.models.Normalization(source.mean, source.std))"
"""What puts the data's normalization before a network that is handed over."""

PUTS = "puts one, where source is the data"

NORMALIZED = "--set student.normalize=data"
"""What puts the data's normalization before a student."""


def notes(config: NetworkConfig, network: nn.Module, source: Source, role: str) -> tuple[str, ...]:
    """Sentences on what is assumed of a network's inputs and outputs.

    Args:
        config: what names the network.
        network: the network that was made of it.
        source: the data.
        role: what the network is, "student" or "teacher".
    """
    schedule = schedule_of(config.model)
    whose = called(role)
    said = [schedule and schedule.note(whose), normalization_note(last_of(config), network, source, role)]
    for each in members_of(config):
        said += [matching(each, source, role).note, input_note(each, source, role)]
        reads = preparation(each, source.task)
        said += [huggingface.cut_note(reads, source, whose), huggingface.unknown_note(reads, source, whose)]
    if not source.task.embeds:  # an encoder needs no head, and static embeddings have no place for one
        if role == "student" and models.huggingface.is_hf(config.model):
            said += [huggingface.head_note(config.model, source)]
        said += [huggingface.number_note(each.model, source, whose) for each in members_of(config)]
        said += [huggingface.code_note(each.model, whose) for each in members_of(config)]
        said += [huggingface.size_note(each.model, source, whose) for each in members_of(config)]
    return tuple(note for note in said if note)


def input_note(config: NetworkConfig, source: Source, role: str) -> str | None:
    """A sentence for a network that was made for inputs of another kind; None for any other."""
    card = None if source.kind == "text" else card_of(config)
    if card is None or isinstance(card.input_shape, dict):
        return None
    place = config.weights or config.model
    shape = sample_shape(example(config, source))
    if shape != card.input_shape:
        remedy = f"; {key_of(role)}.size sets the size that it reads" if source.kind == "image" else ""
        return (
            f"the {role} {str(place)!r} was made for inputs of shape {card.input_shape}, and gets {shape}"
            f"{remedy}"
        )
    usual = Source.preparation
    if card.columns or usual in (card.preparation, source.preparation):
        return None  # columns are compared by name, and what is usual says nothing
    if card.preparation == source.preparation:
        return None
    return (
        f"the {role} {str(place)!r} was made for {card.preparation}, and the inputs of {source.name} are "
        f"{source.preparation}"
    )


def normalization_note(config: NetworkConfig, network: nn.Module, source: Source, role: str) -> str | None:
    """A sentence for a network with weights from elsewhere before which nothing is put; None for any other.

    Args:
        config: what names the network.
        network: the network that was made of it.
        source: the data, which may have a normalization.
        role: what the network is, "student" or "teacher".
    """
    if not _bare(config, network, source):
        return None
    if config.model.startswith("<"):  # an object was handed over, which may well do it itself
        if source.kind != "table" or max(map(abs, (*source.mean, *source.std))) < LARGE:
            return None
        large = f"{source.name} has columns with large numbers"
        return f"{large}, and no normalization is put before {called(role)}: {BY_HAND} {PUTS}"
    return (
        f"no normalization is put before {config.model}, whose weights limbeck did not make; --set "
        f"{key_of(role)}.normalize=data has it read inputs standardized by the training split of "
        f"{source.name}"
    )


def remedy(config: NetworkConfig, network: nn.Module, source: Source) -> str | None:
    """A clause on how what a student reads is standardized; None where it is, or need not be.

    Args:
        config: what names the student.
        network: the student.
        source: the data, which may have a normalization.
    """
    if not _bare(config, network, source):
        return None
    if config.model.startswith("<"):  # an object was handed over
        return f"no normalization was put before the network: {BY_HAND} {PUTS}"
    return f"no normalization was put before the network: {NORMALIZED} puts one"


def _bare(config: NetworkConfig, network: nn.Module, source: Source) -> bool:
    """Whether nothing is put before a network although the data has a normalization and nobody said so."""
    if config.normalize is not None or not source.mean:
        return False
    if source.task.boxed and zoos.is_zoo(config.model):
        return False  # detectors of torchvision normalize images themselves
    if config.model.startswith("<"):
        return models.normalization_of(network) is None
    return not (is_fresh(config) or models.normalization_of(network) is not None or is_of_a_run(config))
