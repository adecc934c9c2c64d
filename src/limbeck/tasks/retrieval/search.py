"""Exact search: the documents of the highest score for each query, a block of documents at a time."""

from __future__ import annotations

import importlib
import math
from importlib.util import find_spec

import torch
from torch import Tensor

from limbeck.tasks.parts.vectors import BLOCK

QUERIES = 256
"""Queries that are searched for at once."""


def search(
    queries: Tensor, documents: Tensor, depth: int, most: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The documents of the highest inner product with each query.

    Args:
        queries: (Q, D).
        documents: (N, D), on the same device.
        depth: how many documents to find; N at most.
        most: (Q,) the highest score that a document may have for a query; any if None.
    Returns: scores and positions, both (Q, depth), the highest score first, -inf where `most` leaves fewer.
        faiss searches a block on the CPU where it is installed and `most` is None, torch elsewhere; of equal
        scores in one block the order is theirs.
    """
    scores, places = [], []
    for first in range(0, len(queries), QUERIES):
        some = queries[first : first + QUERIES]
        limit = None if most is None else most[first : first + QUERIES, None]
        best = some.new_empty(len(some), 0)
        where = torch.empty(len(some), 0, dtype=torch.int64, device=some.device)
        for start in range(0, len(documents), BLOCK):
            block = documents[start : start + BLOCK]
            values, indices = _first(some, block, min(depth, len(block)), limit)
            best = torch.cat([best, values], 1)
            where = torch.cat([where, indices + start], 1)
            kept = best.topk(min(depth, best.shape[1]), dim=1)
            best, where = kept.values, where.gather(1, kept.indices)
        scores.append(best)
        places.append(where)
    return torch.cat(scores), torch.cat(places)


def _first(queries: Tensor, documents: Tensor, depth: int, most: Tensor | None) -> tuple[Tensor, Tensor]:
    if most is None and queries.device.type == "cpu" and find_spec("faiss") is not None:
        faiss = importlib.import_module("faiss")
        values, indices = faiss.knn(
            queries.numpy(), documents.numpy(), depth, metric=faiss.METRIC_INNER_PRODUCT
        )
        return torch.from_numpy(values), torch.from_numpy(indices)
    scores = queries @ documents.T
    if most is not None:
        scores = scores.masked_fill(scores > most, -math.inf)
    found = scores.topk(depth, dim=1)
    return found.values, found.indices
