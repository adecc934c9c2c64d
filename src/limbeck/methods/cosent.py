"""CoSENT, a ranking loss of scored pairs. Su 2022, kexue.fm/archives/8847.

It is CoSENTLoss in sentence-transformers.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from limbeck.arguments import Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import full_precision, gather
from limbeck.methods.parts.candidates import Score, prepared
from limbeck.methods.parts.shapes import floating
from limbeck.methods.terms import Kind
from limbeck.outputs import Batch, Outputs


def cosent(student_scores: Tensor, targets: Tensor, temperature: float = 0.05) -> Tensor:
    """Pairs of texts that are more alike get the higher scores.

        L = log(1 + sum over pairs i, j with y_i > y_j of exp((s_j - s_i) / T))

    The sum is over all pairs of pairs of the batch, so the value follows its size.

    Args:
        student_scores: (N,) score s of each pair of texts, the cosine of their embeddings.
        targets: (N,) how alike they are, y.
        temperature: T > 0; 0.05 is a scale of 20.
    Returns: scalar.
    Raises:
        LimbeckError: for other shapes.
    """
    floating("cosent", "student_scores", student_scores)
    if student_scores.ndim != 1 or targets.shape != student_scores.shape:
        raise LimbeckError(
            "cosent compares scores (N,) of pairs with their targets (N,), not "
            f"{tuple(student_scores.shape)} with {tuple(targets.shape)}"
        )
    values = full_precision(student_scores) / temperature
    higher = targets[:, None] > targets[None]
    differences = (values[None] - values[:, None]).masked_fill(~higher, -math.inf).flatten()
    return torch.cat([differences, differences.new_zeros(1)]).logsumexp(0)


class CoSENT(Method):
    """The scores of pairs are in the order of their labels; it needs no teacher.

    Args:
        temperature: divides the scores.
        score: how two texts are compared, "cosine" or "dot".
    """

    kind: ClassVar[Kind] = "task"
    reads = Reads(student=("embedding",), batch=("targets",))
    rows = "vectors"
    recipe = "cosent"
    min_samples = 4

    def __init__(self, temperature: Positive = 0.05, score: Score = "cosine") -> None:
        super().__init__()
        self.temperature, self.score = temperature, score

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar, over the pairs of all processes."""
        assert batch.targets is not None
        if batch.targets.ndim != 2 or batch.targets.shape[1] != 2:
            raise LimbeckError(
                f"cosent orders scored pairs, whose targets are (P, 2), pair and score, not "
                f"{tuple(batch.targets.shape)}; use contrastive for queries and documents"
            )
        vectors, targets = gather(student.embedding), gather(batch.targets)
        known = ~targets[:, 1].isnan()
        vectors, targets = prepared(vectors[known], self.score), targets[known]
        if len(targets) % 2 or not torch.equal(targets[::2, 0], targets[1::2, 0]):
            raise LimbeckError(
                "cosent: the two texts of a pair should be neighbors in a batch, as loaders give them"
            )
        return cosent((vectors[::2] * vectors[1::2]).sum(1), targets[::2, 1], self.temperature)
