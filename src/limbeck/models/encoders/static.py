"""Static embeddings: a table with a vector for each token, whose mean is the embedding of a text."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StaticEncoder(nn.Module):
    """The mean of the vectors of a text's tokens; no layer looks at their order or context.

    A text costs as many additions of vectors as it has tokens. The weight of a token, small for frequent
    ones, is part of its vector.

    Args:
        tokens: V, how many the tokenizer has.
        dim: D, width of the embedding.
        normalize: whether the embedding has length 1.
    """

    def __init__(self, tokens: int, dim: int, normalize: bool = True) -> None:
        super().__init__()
        self.table = nn.Embedding(tokens, dim)
        self.normalize = normalize

    def feature_points(self) -> dict[str, str | Sequence[str]]:
        """The embedding is what the network returns."""
        return {"logits": "", "embedding": ""}

    @property
    def width(self) -> int:
        """How many numbers the embedding has."""
        return self.table.embedding_dim

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, D) embeddings; zero for a text without a token.

        Args:
            input_ids: (B, L) int64.
            attention_mask: (B, L) int64, 0 where there is no token.
        """
        weights = attention_mask.to(self.table.weight.dtype)
        total = F.embedding_bag(input_ids, self.table.weight, mode="sum", per_sample_weights=weights)
        vectors = total / weights.sum(1, keepdim=True).clamp(min=1)
        if not self.normalize:
            return vectors
        length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        return vectors / length.where(length > 0, math.inf)  # F.normalize has a gradient of 1e12 at zero
