"""Which rows of a batch are related to each other, where there are too many to relate all."""

from __future__ import annotations

from dataclasses import replace

from limbeck.hashing import mix
from limbeck.methods.parts.blocks import gather
from limbeck.outputs import Batch, Outputs
from limbeck.tasks.rows import within

RELATED = 1024
"""Rows of a batch that methods relate to each other, where a sample has many, unless somebody says other."""

_SALT = 0x726F7773  # no other hash of a seed starts with it


def draw_related(batch: Batch, student: Outputs, most: int, seed: int) -> Batch:
    """The batch with the rows that methods relate to each other, if all processes have more than `most`.

    The draw is a function of (seed, step, position of the sample, row within the sample): it is the same
    however the batch is split over processes, and another at every step.

    Args:
        batch: in rows, of a task whose samples have several.
        student: the outputs as rows of the network that learns.
        most: how many rows to draw.
        seed: a number that decides the draw.
    """
    rows = batch.rows
    if rows is None or rows.sample is None or "embedding" not in student:
        return batch
    if len(student.embedding) != len(rows.sample):  # a sample's rows share one embedding
        return batch
    index = rows.sample if batch.index is None else batch.index[rows.sample]
    step = 0 if batch.progress is None else batch.progress.step
    rank = mix(_SALT, seed, step, index, within(rows.sample)) & 2**63 - 1
    order = rank.argsort(stable=True)
    smallest = gather(rank[order[:most]])
    if len(smallest) <= most and len(rank) <= most:
        return batch
    limit = smallest.sort().values[min(most, len(smallest)) - 1]
    return replace(batch, related=order[rank[order] <= limit].sort().values)
