"""What tasks share whose outputs are embeddings: shapes, lengths, and scores of pairs."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.growing import Growing

BLOCK = 65536
"""Vectors that are handled at once where there are many."""

Score: TypeAlias = Literal["cosine", "dot"]
"""How two embeddings are compared: by the cosine of their angle, or by their inner product."""


def check_vectors(outputs: Tensor, role: str, task: str) -> None:
    """Refuses outputs that are no embeddings (B, D).

    Args:
        outputs: what a network returned.
        role: "student" or "teacher", for messages.
        task: its name.
    """
    if outputs.ndim != 2:
        raise LimbeckError(
            f"the outputs of the {role} have the shape {tuple(outputs.shape)}, and {task} takes an embedding "
            "for each text, (B, D)"
        )


def prepared(embeddings: Tensor, score: Score) -> Tensor:
    """(N, D) vectors whose inner products are the scores, in float32; a vector of length 0 stays so."""
    vectors = embeddings.float()
    if score == "dot":
        return vectors
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / lengths.where(lengths > 0, 1)


class Kept:
    """Embeddings of some texts by number; each number is kept once. Many of them lie in a temporary file."""

    def __init__(self) -> None:
        self._vectors, self._numbers = Growing(), Growing()

    def add(self, numbers: Tensor, vectors: Tensor) -> None:
        """Takes in the embeddings (B, D) of the texts `numbers` (B,) int64."""
        self._vectors.add(vectors.float())
        self._numbers.add(numbers)

    def read(self) -> tuple[Tensor, Tensor]:
        """The numbers (N,) in ascending order, each once, and their embeddings (N, D)."""
        if not len(self._numbers):
            return torch.empty(0, dtype=torch.int64), torch.empty(0, 0)
        numbers, vectors = self._numbers.read(), self._vectors.read()
        if bool((numbers.diff() > 0).all()):
            return numbers, vectors
        order = numbers.argsort(stable=True)
        first = torch.ones_like(numbers, dtype=torch.bool)
        first[1:] = numbers[order].diff() != 0
        kept, ordered = order[first], Growing()
        for some in torch.split(kept, BLOCK):
            ordered.add(vectors[some])
        return numbers[kept], ordered.read()


def zeros(vectors: Tensor) -> int:
    """How many of some vectors (N, D) have length 0."""
    return sum(int((some == 0).all(1).sum()) for some in torch.split(vectors, BLOCK))
