"""Weights of classes and of samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from limbeck.arguments import NonNegative
from limbeck.errors import LimbeckError
from limbeck.methods.declarations import Context
from limbeck.outputs import Batch

ClassWeights: TypeAlias = Sequence[NonNegative] | Literal["balanced"] | None


def row_mean(values: Tensor, batch: Batch) -> Tensor:
    """The mean of what each row of a batch gives (P,), weighted where its samples have weights."""
    return values.mean() if batch.weights is None else (values * batch.weights.to(values)).mean()


def balanced(counts: Sequence[int]) -> tuple[float, ...]:
    """n / (C n_c) for each class c: together all classes weigh the same; 0 for one without a label.

    Args:
        counts: n_c, labels of each class, n in all.
    """
    total, classes = sum(counts), len(counts)
    return tuple(total / (classes * count) if count else 0.0 for count in counts)


def settled(method: str, given: ClassWeights, context: Context) -> Tensor | None:
    """(C,) weights that an argument `class_weights` stands for; None where it is None.

    Raises:
        LimbeckError: for "balanced" where nobody knows the labels, and for another number of weights than
            there are classes.
    """
    if given is None:
        return None
    counts = context.data.class_counts
    if given == "balanced":
        if counts is None:
            raise LimbeckError(
                f'{method}(class_weights="balanced") needs the number of labels of each class; give the '
                "Distiller a Source or a Loader of limbeck as data, or give the weights"
            )
        given = balanced(counts)
    classes = context.student.logits.shape[1]
    if len(given) != classes:
        raise LimbeckError(f"{method} has {len(given)} class_weights, and the logits have {classes} classes")
    return torch.tensor([float(weight) for weight in given], dtype=torch.float32)
