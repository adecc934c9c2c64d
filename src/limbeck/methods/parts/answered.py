"""The rows of a batch that a teacher has answers for, where it does not have one for each."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from limbeck.outputs import Batch, Outputs


def of_answered(
    student: Outputs, teacher: Outputs, batch: Batch
) -> tuple[tuple[Outputs, Outputs, Batch], Tensor]:
    """The rows with an answer, for a task with one row for each sample.

    Where no row has one, the first stands in, and counts for nothing.

    Args:
        student: outputs for the batch.
        teacher: outputs that say which rows are answered.
        batch: with a row for each sample.
    Returns: student, teacher and batch with these rows alone; and a scalar by which a mean over them is
        multiplied, so that the losses of the parts of a batch, each by its share of the samples, add up to
        the mean over the answered rows of the whole batch.
    """
    counts = teacher.answered
    assert counts is not None
    chosen = counts.nonzero().flatten()
    chosen = chosen if len(chosen) else torch.zeros(1, dtype=torch.int64, device=counts.device)

    def of(tensor: Tensor) -> Tensor:
        return tensor[chosen]

    some = batch.map(of)
    if batch.rows is not None:
        some = replace(some, rows=replace(batch.rows, count=len(chosen), targets=some.targets))
    answers = Outputs(**{name: value for name, value in teacher.items() if name != "answered"})
    return (student.map(of), answers.map(of), some), counts.mean()
