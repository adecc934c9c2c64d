"""Queries and their candidates among the rows of a batch, and the scores between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.parts.blocks import full_precision, gather, unit
from limbeck.outputs import UNLABELED, Outputs

Score: TypeAlias = Literal["cosine", "dot"]
"""How a query and a document are compared."""


@dataclass(frozen=True)
class Candidates:
    """Which rows of a batch are queries, and which are the candidates of each.

    Attributes:
        queries: (Q,) int64 rows.
        documents: (Q, n) int64 rows; the first candidate of a query is relevant to it.
        query: (Q,) int64 number of each query.
        document: (Q, n) int64 number of each document.
    """

    queries: Tensor
    documents: Tensor
    query: Tensor
    document: Tensor

    def __len__(self) -> int:
        return len(self.queries)

    def relevant_elsewhere(self, judgments: Tensor | None) -> Tensor:
        """(Q, Q * n) true for a document that is no negative of a query, although it is not its first.

        That is one that the query's own candidates or the judgments have as relevant, and the relevant
        document itself wherever it comes again.

        Args:
            judgments: (J, 3) query, document and grade; None if only the batch is known.
        """
        size, each = self.document.shape
        flat = self.document.flatten()
        pairs = _keys(self.query, self.document[:, 0])
        if judgments is not None:
            known = judgments.to(flat.device)
            known = known[(known[:, 2] > 0) & torch.isin(known[:, 0], self.query)]
            pairs = torch.cat([pairs, _keys(known[:, 0], known[:, 1])])
        found = torch.isin(_keys(self.query[:, None], flat[None]), pairs)
        own = torch.arange(size, device=flat.device) * each
        found[torch.arange(size, device=flat.device), own] = False
        return found


def candidates(targets: Tensor, method: str) -> Candidates:
    """The queries of a batch whose candidates are in it too.

    Args:
        targets: (P, 3) query, document and grade, see `limbeck.tasks.Retrieval`; the candidates of a query
            follow it.
        method: name of the method, for messages.
    Raises:
        LimbeckError: for targets of another task, and for queries with different numbers of candidates.
    """
    if targets.ndim != 2 or targets.shape[1] != 3 or targets.is_floating_point():
        raise LimbeckError(
            f"{method} compares queries with documents, whose targets are (P, 3), query, document and grade, "
            f"not {tuple(targets.shape)}; use a method that compares embeddings, such as cosine, or data for "
            "retrieval"
        )
    query, document = targets[:, 0], targets[:, 1]
    of_query = (query != UNLABELED) & (document == UNLABELED)
    starts = of_query.nonzero().flatten()
    following = (query != UNLABELED) & (document != UNLABELED)
    if not len(starts) or not following.any():
        empty = starts[:0]
        return Candidates(empty, empty.view(0, 1), empty, empty.view(0, 1))
    count, rest = divmod(int(following.sum()), len(starts))
    rows = starts[:, None] + torch.arange(1, count + 1, device=starts.device)
    inside = not rest and int(rows.max()) < len(targets)
    if not inside or not torch.equal(query[rows], query[starts, None].expand_as(rows)):
        raise LimbeckError(
            f"{method}: every query should be followed by as many candidates of its own as any other; train "
            "with a loader of limbeck, which keeps them together"
        )
    return Candidates(starts, rows, query[starts], document[rows])


def scores(queries: Tensor, documents: Tensor, score: Score) -> Tensor:
    """(Q, n) scores of queries (Q, D) with documents of their own (Q, n, D)."""
    first, second = prepared(queries, score), prepared(documents, score)
    return torch.einsum("qd,qnd->qn", first, second)


def scores_in_batch(queries: Tensor, documents: Tensor, score: Score) -> Tensor:
    """(Q, Q * n) scores of queries (Q, D) with the documents (Q, n, D) of all of them."""
    return prepared(queries, score) @ prepared(documents, score).flatten(0, 1).T


def prepared(vectors: Tensor, score: Score) -> Tensor:
    """Vectors (..., D) in float32 at least, of length 1 for the cosine."""
    vectors = full_precision(vectors)
    return unit(vectors, dim=-1) if score == "cosine" else vectors


def taught_scores(
    method: str, teacher: Outputs, found: Candidates, score: Score, *, in_batch: bool = False
) -> Tensor:
    """The teacher's scores of queries with their own documents (Q, n), or with those of the batch (Q, Q * n).

    They are those of its embeddings, or its own where it reads a query and a document together.

    Args:
        method: name of the method, for messages.
        teacher: its outputs.
        found: the queries and their candidates, among the rows of all processes.
        score: how embeddings are compared.
        in_batch: whether a query is compared with the documents of all of them.
    Raises:
        LimbeckError: for the documents of the batch, where the teacher knows pairs alone.
    """
    if "scores" in teacher:
        if in_batch:
            raise LimbeckError(pairs_alone(method))
        return gather(teacher["scores"])[found.documents]
    between = scores_in_batch if in_batch else scores
    theirs = gather(teacher.embedding)
    return between(theirs[found.queries], theirs[found.documents], score)


def pairs_alone(method: str) -> str:
    """What is said of a method that compares documents of the batch, to whom such a teacher has no answer."""
    return (
        f"{method} compares a query with the documents of the batch, and the teacher scores it with its own "
        f'candidates alone; say {method}(among="given")'
    )


def grouped(method: str, queries: Tensor, documents: Tensor) -> None:
    """Refuses anything but queries (Q, D) and documents (Q, n, D)."""
    if queries.ndim != 2 or documents.ndim != 3 or documents.shape[::2] != queries.shape:
        raise LimbeckError(
            f"{method} compares queries (Q, D) with documents (Q, n, D), n of each query, the first of them "
            f"relevant, not {tuple(queries.shape)} with {tuple(documents.shape)}; one document of each query "
            "is documents.unsqueeze(1)"
        )


def _keys(query: Tensor, document: Tensor) -> Tensor:
    """One number for each pair."""
    return query * 2**32 + document
