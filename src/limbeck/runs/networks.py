"""Networks as a config names them: zoo, factory, run directory, checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from limbeck import models
from limbeck.config import NetworkConfig, TeacherConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.models import zoos
from limbeck.models.checkpoints import load_weights
from limbeck.outputs import Inputs
from limbeck.runs.directory import Run, load
from limbeck.runs.network_record import digests, read_card
from limbeck.seeds import seed_for


def student(config: NetworkConfig, source: Source, seed: int) -> nn.Module:
    """The student, its fresh weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "student"))
        return _learns_values(_network(config, source, "student"), config, source)


def teacher(config: NetworkConfig, source: Source) -> nn.Module:
    """The teacher.

    Raises:
        LimbeckError: for a network of limbeck's or of a zoo's without weights: it would teach noise.
    """
    if config.weights is None and not is_path(config.model) and not _brings_weights(config.model):
        build(config, "teacher", source.example(1), source.task.width, source.facts)  # typos first
        raise LimbeckError(
            f"the teacher {config.model!r} has no weights; give a run's directory (make one with "
            f"`limbeck train --model {config.model!r}`) or a checkpoint with --set teacher.weights=FILE"
        )
    return _network(config, source, "teacher")


def build(
    config: NetworkConfig,
    role: str,
    example: Inputs,
    num_classes: int | None,
    facts: Mapping[str, int] | None = None,
) -> nn.Module:
    """The network that a config names, with its weights where it has any.

    Args:
        role: what the network is, for messages.
        example: inputs it will get.
        num_classes: how many logits it should have.
        facts: what else it must know of the data.
    """
    if is_path(config.model):
        network = _from_path(Path(config.model), role)
    else:
        with torch.random.fork_rng(devices=[]):
            network = models.build(config.model, example=example, num_classes=num_classes, facts=facts)
    if config.weights is not None:
        load_weights(network, config.weights, config.model)
    return network


def is_path(model: str) -> bool:
    """Whether a model is a place; a name of the zoo stays a name, also beside a folder called the same."""
    if model in models.MODELS or model in models.NAMED:
        return False
    means_a_path = model.endswith((".safetensors", ".pt", ".pth")) or ("/" in model and ":" not in model)
    return means_a_path or os.path.exists(model)  # unlike Path.exists, at ease with a long text


def _brings_weights(model: str) -> bool:
    return zoos.fetches_weights(model) if zoos.is_zoo(model) else ":" in model


def _network(config: NetworkConfig, source: Source, role: str) -> nn.Module:
    if not source.task.names:
        raise LimbeckError(
            f"the data {source.name} has no labels, so nothing says what the outputs of the {role} are; give"
            " their names, names=[...]"
        )
    network = build(config, role, source.example(1), source.task.width, source.facts)
    if is_path(config.model):
        check_files(Path(config.model), role, source)
    if source.mean and models.normalization_of(network) is None:
        models.normalize_inputs(network, models.Normalization(source.mean, source.std))
    return network


def _learns_values(network: nn.Module, config: NetworkConfig, source: Source) -> nn.Module:
    """The student; one with fresh weights for values answers on the scale of the training targets."""
    fresh = config.weights is None and not is_path(config.model)
    if fresh and source.task.scores == "values" and models.rescaling_of(network) is None:
        targets = source.train.targets[source.task.labeled(source.train.targets)]
        models.rescale_outputs(network, models.Rescaling.of(targets))
    return network


def check_files(path: Path, role: str, source: Source) -> None:
    """Refuses a network whose inputs meant something else: token 7 of another vocabulary is another word."""
    card = read_card(path / "student.safetensors" if path.is_dir() else path)
    files = digests(source.files)
    for name in files if card else ():
        if card and card.files.get(name) != files[name]:
            raise LimbeckError(
                f"the {role} {str(path)!r} was trained with another {name} than that of {source.name}; "
                "give the data and its arguments as in that run's config.yaml"
            )


def check_labels(config: TeacherConfig, source: Source) -> None:
    """Refuses a teacher of which it is not said, or not truly, whether its labels were the noisy ones."""
    if source.noise is None and config.labels is not None:
        raise LimbeckError(f"the labels of {source.name} are clean; leave out teacher.labels")
    if source.noise is not None and config.labels is None:
        raise LimbeckError(
            f"the training labels of {source.name} are noisy; say which ones the teacher learned from, with "
            "--set teacher.labels=clean or --set teacher.labels=noisy"
        )
    place = config.weights or (Path(config.model) if is_path(config.model) else None)
    run = None if place is None else Run(place if place.is_dir() else place.parent)
    if source.noise is None or run is None or not run.finished:
        return  # there is no record to check it against
    learned, said = run.result.data.noise, source.noise if config.labels == "noisy" else None
    if learned != said:
        raise LimbeckError(
            f"teacher.labels={config.labels} says that the teacher learned from {said or 'clean labels'}, "
            f"but {str(place)!r} learned from {learned or 'clean labels'}"
        )


def _from_path(path: Path, role: str) -> nn.Module:
    if not path.exists():
        raise LimbeckError(f"the {role} {str(path)!r} is no run directory and no file")
    if path.is_file() and read_card(path) is None:
        raise LimbeckError(
            f"the checkpoint {str(path)!r} does not say which network it belongs to; give its name as the "
            f"{role} and the file with --set {role}.weights={path}"
        )
    return load(path)
