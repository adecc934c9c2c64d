"""The data that a config names, and whether its objective can learn from them."""

from __future__ import annotations

from dataclasses import replace

from limbeck import data as sources
from limbeck.config import RunConfig, TrainingConfig
from limbeck.data import Source, Split, views
from limbeck.data.loader import checked_number
from limbeck.errors import LimbeckError
from limbeck.methods import Method, Objective
from limbeck.methods.base import inner_first
from limbeck.runs import language


def data_of(config: RunConfig) -> Source:
    """The data set that a config names."""
    return sources.load(
        config.data.name,
        config.data.dir,
        tokens=lambda: language.tokens_of(config.student, *config.taught_by.values()),
    )


def with_views(source: Source, config: RunConfig) -> Source:
    """The source with the policy that the config says; refuses to draw among more views than that has."""
    if config.data.views is not None:
        source = replace(source, views=views.parse(config.data.views))
    checked_number(config.training.views, source.views)
    return source


def check_validation(setup: TrainingConfig, source: Source) -> None:
    """Refuses to choose epochs by a validation split that is not there."""
    if source.validation is not None:
        return
    if setup.selection == "validation":
        raise LimbeckError(f"{source.name} has no validation split; use training.selection=last")
    if setup.early_stopping is not None:
        raise LimbeckError(
            f"training is stopped early by the validation split, and {source.name} has none; leave out "
            "training.early_stopping (--early-stopping)"
        )


def uses_unlabeled(objective: Method) -> bool:
    """Whether some method in it learns from samples without a label too."""
    parts = [
        method
        for method in inner_first(objective)
        if not isinstance(method, Objective) and not method.exchanges  # what it wraps learns in its place
    ]
    return any(method.unlabeled or "targets" not in method.reads.batch for method in parts)


def check_learnable(objective: Method, split: Split, source: Source, *, pairs: bool) -> None:
    """Refuses a method that learns from labels, or from negatives, where there are none.

    `pairs` is whether a teacher scores pairs, and cannot compare the documents of a batch.
    """
    instead = "" if pairs else ", or use listwise, which compares the documents of the batch"
    for method in inner_first(objective):
        if method.min_together > split.together:
            raise LimbeckError(
                f"{method.name} compares the candidates of a query, and each query of {source.name} is "
                "followed by its relevant document alone; give data with negatives=1 or more, which "
                f"`limbeck mine` finds{instead}"
            )
        if "targets" in method.reads_in_training.batch and not split.has_labels:
            raise LimbeckError(
                f"{method.name} learns from labels, and no training sample of {source.name} has one; leave "
                "it out of the objective, such as kd alone"
            )
