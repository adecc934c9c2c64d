"""What tests ask of a split of classes."""

from __future__ import annotations

from torch import Tensor

from limbeck.data import Split
from limbeck.outputs import UNLABELED


def class_counts(split: Split, classes: int) -> Tensor:
    """(classes,) int64 number of labeled samples of each class."""
    return split.targets[split.targets != UNLABELED].bincount(minlength=classes)
