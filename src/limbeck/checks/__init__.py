"""What a Distiller refuses: mistakes that would train the wrong thing, or fail far from their cause."""

from __future__ import annotations

from limbeck.checks.batch import batch_complete, can_weigh, targets_given, targets_in_range, weights
from limbeck.checks.network import callable_with, networks, trained
from limbeck.checks.objective import gradient_rule, plain_backward, possible
from limbeck.checks.task import logits, misfit, places, same_width, serves, task_given, task_of
from limbeck.checks.teacher import ALIGNED, answers_suffice, read_by, tokens_alike, told_apart

__all__ = [
    "ALIGNED",
    "answers_suffice",
    "batch_complete",
    "callable_with",
    "can_weigh",
    "gradient_rule",
    "logits",
    "misfit",
    "networks",
    "places",
    "plain_backward",
    "possible",
    "read_by",
    "same_width",
    "serves",
    "targets_given",
    "targets_in_range",
    "task_given",
    "task_of",
    "tokens_alike",
    "told_apart",
    "trained",
    "weights",
]
