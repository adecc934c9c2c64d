"""What the name of a network in a config stands for: a place, an ensemble, weights of its own."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TypeVar

from limbeck import models
from limbeck.config import NetworkConfig
from limbeck.data import Source
from limbeck.models import zoos
from limbeck.notation import Call, parse_call
from limbeck.runs import huggingface, towers, zoo_networks
from limbeck.runs.directory import Run
from limbeck.runs.matching import Match, match
from limbeck.runs.network_record import Card, read_card
from limbeck.runs.schedules import call_of, last_of
from limbeck.teachers.files.reading import is_answers

C = TypeVar("C", bound=NetworkConfig)

_PLACE = re.compile(r"\w[\w .-]*")
"""What a folder may be called, such as my-run, where it is no name in the notation."""


def called(role: str) -> str:
    """What messages call a network: "the student", "the teacher", or "the teacher 'big'" of several."""
    return f"the {role}" if role in ("student", "teacher") else f"the teacher {role!r}"


def key_of(role: str) -> str:
    """Where the config says what a network is: "student", "teacher", or "teachers.big" for one of several."""
    return role if role in ("student", "teacher") else f"teachers.{role}"


def is_path(model: str) -> bool:
    """Whether a model is a place; a name of the zoo stays a name, also beside a folder called the same."""
    if model in models.table() or model in models.NAMED or models.encoders.static_source(model) is not None:
        return False
    if towers.towers_of(model) is not None:
        return False
    means_a_path = model.endswith((".safetensors", ".pt", ".pth")) or ("/" in model and ":" not in model)
    no_name = _PLACE.fullmatch(model) is not None and not model.isidentifier()
    return (
        means_a_path or no_name or is_answers(model) or os.path.exists(model)
    )  # unlike Path.exists, at ease with a long text


def ensemble_of(model: str) -> Call | None:
    """The call that a model text is, if it is `ensemble("runs/a", "runs/b", ...)`."""
    return parse_call(model, "teacher") if model.startswith("ensemble(") else None


def members_of(config: C) -> tuple[C, ...]:
    """The configs of an ensemble's members; of one network its own, of a schedule its last checkpoint's."""
    call = ensemble_of(config.model)
    if call is None:
        return (last_of(config),)
    return tuple(config.model_copy(update={"model": str(each)}) for each in call.args)


def read_by(config: NetworkConfig) -> tuple[str, ...]:
    """The models that a config reads: those of an ensemble, the run of a schedule, or the one it names."""
    call = ensemble_of(config.model) or call_of(config.model) or towers.towers_of(config.model)
    return (config.model,) if call is None else tuple(each for each in call.args if isinstance(each, str))


def card_of(config: NetworkConfig) -> Card | None:
    """The record of the network that a config names, where limbeck wrote its weights; else None."""
    config = last_of(config)
    if config.weights is not None:
        return read_card(config.weights) if config.weights.is_file() else None
    if models.huggingface.is_hf(config.model):
        return huggingface.card_of(config.model)
    if zoos.is_zoo(config.model):
        return zoo_networks.card_of(config.model)
    if not is_path(config.model):
        return None
    path = Path(config.model)
    file = path / "student.safetensors" if path.is_dir() else path
    return read_card(file) if file.is_file() else None


def matching(config: NetworkConfig, source: Source, role: str) -> Match:
    """How the outputs of a network that a config names become those of the data; see `matching.match`."""
    if models.huggingface.is_hf(config.model) and (role == "student" or source.task.embeds):
        return Match()  # its head is a fresh one where it has other outputs, and an encoder has none
    return match(card_of(config), source, role, str(config.weights or config.model))


def may_have_seen(config: NetworkConfig, source: Source) -> bool:
    """Whether the network starts from weights that may have been trained on the validation split.

    Fresh weights were not, and neither were those of a run on the same data.
    """
    if is_fresh(config) or config.model.startswith("<"):
        return False
    place = config.weights or Path(config.model)
    run = Run(place if place.is_dir() else place.parent)
    return not run.finished or run.result.data.fingerprint != source.fingerprint()


def brings_weights(model: str) -> bool:
    """Whether a model comes with weights, as a folder, a hub or a zoo has them; a factory counts as one."""
    if models.huggingface.is_hf(model):
        return models.huggingface.read(model).brings_weights
    if towers.towers_of(model) is not None:
        return True
    return zoos.fetches_weights(model) if zoos.is_zoo(model) else ":" in model


def is_fresh(config: NetworkConfig) -> bool:
    """Whether limbeck draws the network's weights; nobody can tell what a factory has put in its network."""
    return config.weights is None and not is_path(config.model) and not brings_weights(config.model)


def is_of_a_run(config: NetworkConfig) -> bool:
    """Whether limbeck has written its weights, with a record beside them."""
    return is_path(config.model) or (config.weights is not None and read_card(config.weights) is not None)
