"""What a pass over a batch reads, and which loss it ends in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from limbeck.features import Tap
from limbeck.methods.declarations import Reads
from limbeck.methods.terms import Losses
from limbeck.outputs import Batch, Outputs


@dataclass(frozen=True)
class Pass:
    """How a batch becomes losses, in training or in a phase.

    Attributes:
        reads: what of the networks and the batch is read.
        fields: the outputs that each teacher is asked for, by its name.
        views: the further views that each teacher is asked about, by its name.
        tap: gives the student's outputs; None where none are read.
        loss: turns the outputs of student and teachers and the batch, all in rows, into terms.
        rule: what `Losses.backward` calls in place of autograd; None without a rule for the gradient.
        of_training: whether the samples are those of the training set at `index`, in the views that `view`
            numbers, so that a cache may answer.
        own_data: whether a phase made the samples for itself, so that they are rows as they are.
    """

    reads: Reads
    fields: Mapping[str, Sequence[str]]
    views: Mapping[str, Sequence[str]]
    tap: Tap | None
    loss: Callable[[Outputs, Outputs, Batch], Any]
    rule: Callable[[Losses, float | Tensor], None] | None = None
    of_training: bool = True
    own_data: bool = False
