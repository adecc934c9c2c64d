"""A run's teachers that are cross-encoders."""

from __future__ import annotations

from functools import partial

from torch import nn

from limbeck.config import RunConfig, TeacherConfig
from limbeck.data import Source
from limbeck.data.pair_tokens import SIDES, PairTokens
from limbeck.data.tokenization import tokenization
from limbeck.errors import LimbeckError
from limbeck.methods import Method
from limbeck.methods.base import inner_first
from limbeck.methods.embeddistill import EmbedDistill
from limbeck.models import huggingface
from limbeck.models.configs import most_tokens
from limbeck.models.encoders import cross_encoder, is_cross_encoder
from limbeck.runs.network_names import called, key_of
from limbeck.teachers import PairTeacher

RECIPE = 'contrastive + listwise(among="given", teacher_temperature=1)'
"""The objective of a run that names none."""


def pair_teachers(config: RunConfig, source: Source, objective: Method) -> dict[str, PairTeacher]:
    """The teachers of a run that score pairs, by name.

    Args:
        config: of the run.
        source: the data.
        objective: decides what they are asked for.
    Raises:
        LimbeckError: for a setting that they have no use for, and data without pairs.
    """
    pooled = any(isinstance(each, EmbedDistill) for each in inner_first(objective))
    return {
        name: pair_teacher(each, source, name=name, pooled=pooled)
        for name, each in config.taught_by.items()
        if scores_pairs(each, source)
    }


def scores_pairs(config: TeacherConfig, source: Source) -> bool:
    """Whether a teacher is a cross-encoder, for data of queries and documents."""
    return source.task.embeds and is_cross_encoder(config.model)


def pair_teacher(
    config: TeacherConfig, source: Source, *, name: str = "teacher", pooled: bool
) -> PairTeacher:
    """One such teacher.

    Args:
        config: of the teacher.
        source: the data.
        name: of the teacher, for messages.
        pooled: whether it is asked for embeddings.
    """
    usual = TeacherConfig(model=config.model, cache=config.cache, trust=config.trust)
    if said := [key for key, value in config if value != getattr(usual, key)]:
        raise LimbeckError(
            f"{config.model} is a cross-encoder, which brings all that it is; leave out "
            f"{key_of(name)}.{said[0]}"
        )
    named = huggingface.read(config.model)
    tokens = PairTokens(
        tokenization(named.place, most_tokens(named.place), named.max_length, named.pad_token)
    )
    make = partial(_network, config.model, tokens)
    return PairTeacher(make(), source, tokens, config.cached, pooled=pooled, rebuild=make)


def _network(spec: str, tokens: PairTokens) -> nn.Module:
    inputs = tokens.read(["a", "b"], ["a", "b"])
    return cross_encoder(spec, {name: each for name, each in inputs.items() if name != SIDES})


def note(teacher: PairTeacher, name: str) -> str:
    """A sentence on what such a teacher is asked, without a full stop."""
    count = len(teacher.pairs_known)
    kept = ", which are kept and read back ever after" if teacher.cached else ""
    return f"{called(name)} scores {count:,} pairs of a training query and a candidate{kept}"
