"""Batches of embeddings that methods are given without a network."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck import Batch, Outputs
from limbeck.outputs import UNLABELED


def targets(queries: int, documents: int) -> Tensor:
    """(P, 3) a query, its relevant document and the others, for each query; all documents differ."""
    rows = []
    for query in range(queries):
        rows.append([query, UNLABELED, UNLABELED])
        rows += [[query, query * documents + place, int(place == 0)] for place in range(documents)]
    return torch.tensor(rows)


def embeddings(rows: int, width: int, seed: int) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch(of: Tensor) -> Batch:
    return Batch(torch.zeros(len(of), 1), of)


def outputs(vectors: Tensor) -> Outputs:
    return Outputs(logits=vectors, embedding=vectors)
