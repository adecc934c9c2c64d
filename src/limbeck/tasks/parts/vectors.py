"""What tasks share whose outputs are embeddings: shapes, lengths, and scores of pairs."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from limbeck.errors import LimbeckError

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
    """Embeddings of some texts by number, in one tensor that grows by doubling; each number is kept once."""

    def __init__(self) -> None:
        self._vectors = torch.empty(0, 0)
        self._numbers: list[Tensor] = []
        self._count = 0

    def add(self, numbers: Tensor, vectors: Tensor) -> None:
        """Takes in the embeddings (B, D) of the texts `numbers` (B,) int64."""
        vectors = vectors.detach().float().cpu()
        if not self._count:
            self._vectors = vectors.new_empty(max(1024, len(vectors)), vectors.shape[1])
        while self._count + len(vectors) > len(self._vectors):
            self._vectors = torch.cat([self._vectors, torch.empty_like(self._vectors)])
        self._vectors[self._count : self._count + len(vectors)] = vectors
        self._numbers.append(numbers.cpu())
        self._count += len(vectors)

    def read(self) -> tuple[Tensor, Tensor]:
        """The numbers (N,) in ascending order, each once, and their embeddings (N, D)."""
        if not self._count:
            return torch.empty(0, dtype=torch.int64), self._vectors[:0]
        numbers = torch.cat(self._numbers)
        order = numbers.argsort(stable=True)
        ordered = numbers[order]
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[1:] = ordered[1:] != ordered[:-1]
        return ordered[first], self._vectors[: self._count][order[first]]
