"""Networks as a config names them: zoo, factory, run directory, checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from limbeck import models
from limbeck.config import NetworkConfig
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.runs.directory import load, read_card
from limbeck.seeds import seed_for


def student(config: NetworkConfig, source: Source, seed: int) -> nn.Module:
    """The student, its fresh weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "student"))
        return _network(config, source, "student")


def teacher(config: NetworkConfig, source: Source) -> nn.Module:
    """The teacher.

    Raises:
        LimbeckError: for a network of the zoo without weights: it would teach noise.
    """
    _check_exists(config.model, "teacher")
    if config.weights is None and not Path(config.model).exists() and ":" not in config.model:
        models.build(config.model, example=source.example(1), num_classes=source.num_classes)  # typos first
        raise LimbeckError(
            f"the teacher {config.model!r} has no weights; give a run's directory (make one with "
            f"`limbeck train --model {config.model!r}`) or a checkpoint with --set teacher.weights=FILE"
        )
    return _network(config, source, "teacher")


def _network(config: NetworkConfig, source: Source, role: str) -> nn.Module:
    _check_exists(config.model, role)
    path = Path(config.model)
    if path.exists():
        network = _from_path(path, config.model, role)
    else:
        network = models.build(config.model, example=source.example(1), num_classes=source.num_classes)
    if config.weights is not None:
        models.load_into(network, models.load_state(config.weights), str(config.weights))
    if source.mean and models.normalisation_of(network) is None:
        models.normalise_inputs(network, models.Normalisation(source.mean, source.std))
    return network


def _check_exists(model: str, role: str) -> None:
    """Refuses what can only be a path and leads nowhere."""
    path = Path(model)
    means_a_path = path.suffix in (".safetensors", ".pt", ".pth") or ("/" in model and ":" not in model)
    if means_a_path and not path.exists():
        raise LimbeckError(f"the {role} {model!r} is no run directory and no file")


def _from_path(path: Path, spec: str, role: str) -> nn.Module:
    if path.is_file() and read_card(path) is None:
        raise LimbeckError(
            f"the checkpoint {spec!r} does not say which network it belongs to; give "
            f"--{role} NAME --set {role}.weights={spec}"
        )
    return load(path)
