"""Exact search: the documents of the highest score for each query, a block of documents at a time."""

from __future__ import annotations

import torch
from torch import Tensor

QUERIES = 256
"""Queries that are searched for at once."""

DOCUMENTS = 65536
"""Documents that are scored at once, so that the scores of a block take 64 MiB."""


def search(queries: Tensor, documents: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """The documents of the highest inner product with each query.

    Args:
        queries: (Q, D).
        documents: (N, D), on the same device.
        depth: how many documents to find; N at most.
    Returns: scores and positions, both (Q, depth), the highest score first; of equal scores in one block the
        order is torch's own.
    """
    scores, places = [], []
    for some in torch.split(queries, QUERIES):
        best = some.new_empty(len(some), 0)
        where = torch.empty(len(some), 0, dtype=torch.int64, device=some.device)
        for start in range(0, len(documents), DOCUMENTS):
            block = some @ documents[start : start + DOCUMENTS].T
            found = block.topk(min(depth, block.shape[1]), dim=1)
            best = torch.cat([best, found.values], 1)
            where = torch.cat([where, found.indices + start], 1)
            kept = best.topk(min(depth, best.shape[1]), dim=1)
            best, where = kept.values, where.gather(1, kept.indices)
        scores.append(best)
        places.append(where)
    return torch.cat(scores), torch.cat(places)
