"""The optimizer of a run that names none: SGD, and AdamW for networks of `transformers` and for `gpt`."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from limbeck import models as networks_of
from limbeck.config import NetworkConfig, RunConfig
from limbeck.models import huggingface
from limbeck.optimization import Adam, Cosine
from limbeck.runs.network_names import card_of, is_path
from limbeck.teachers.files.reading import is_answers

WHOLE = 5e-5
"""Learning rate of a pretrained network, the usual one for fine-tuning BERT (Devlin et al. 2018, A.3)."""

SOME_LAYERS = 2e-4
"""Learning rate of some layers of a pretrained network, that of `benchmarks/text`."""

FRESH = 5e-4
"""Learning rate of fresh weights."""

GPT = 3e-3
"""Learning rate of limbeck's own `gpt`, which is small and begins with fresh weights."""

RISE = 10
"""The rate rises in the first of so many parts of the epochs."""


def settled(config: RunConfig, student: Any = None) -> RunConfig:
    """The config with the optimizer and the schedule that it does not name, for a transformer.

    A learning rate or a weight decay that is given alone stays. Any other network has the config's own
    defaults.

    Args:
        config: as it was given, not yet written and read back, which would name everything.
        student: the network, where it was handed over as an object.
    """
    given = config.training.optimizer.model_dump(exclude_unset=True)
    rate = usual_rate(config.student, student)
    if rate is None or not {*given} <= {"lr", "weight_decay"}:
        return config
    setup = config.training
    changed: dict[str, Any] = {"optimizer": Adam(name="adamw", **{"lr": rate, **given})}
    if "schedule" not in setup.model_fields_set:
        changed["schedule"] = Cosine(warmup=setup.epochs / RISE)
    return config.model_copy(update={"training": setup.model_copy(update=changed)})


def usual_rate(config: NetworkConfig, student: Any = None) -> float | None:
    """The learning rate of AdamW that suits a network of `transformers` or a `gpt`; None for any other.

    Args:
        config: of the network.
        student: the network, where it was handed over as an object.
    """
    if isinstance(student, nn.Module):
        if isinstance(student, networks_of.GPT):
            return GPT
        return None if huggingface.config_of(student) is None else WHOLE
    if re.match(r"gpt\b", config.model):
        return GPT
    if huggingface.is_hf(config.model):
        named = huggingface.read(config.model)
        if named.layers is not None:
            return SOME_LAYERS
        return WHOLE if named.brings_weights or config.weights is not None else FRESH
    if is_answers(config.model) or not is_path(config.model):
        return None
    card = card_of(config)
    return None if card is None or card.network is None else WHOLE


def note(config: RunConfig, student: Any = None) -> str | None:
    """A sentence, without a full stop, on an optimizer that is the usual one; None for any other.

    Args:
        config: of the run, settled.
        student: the network, where it was handed over as an object.
    """
    rate, setup = usual_rate(config.student, student), config.training
    if rate is None or setup.optimizer != Adam(name="adamw", lr=rate):
        return None
    rise = f", which rises over the first {setup.schedule.warmup:g} epochs" if setup.schedule.warmup else ""
    return (
        f"the {'student' if config.taught_by else 'network'} is a transformer and learns by adamw with a "
        f"learning rate of {rate:g}{rise}; --lr sets another rate, and training.optimizer (--set "
        "training.optimizer=sgd) another optimizer"
    )
