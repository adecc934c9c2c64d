"""Measures networks by what they find: one alone, and a student beside its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks.measuring import Comparison, Meter
from limbeck.tasks.parts.vectors import Kept, Score, prepared, zeros
from limbeck.tasks.retrieval.findings import RetrievalAgreement, RetrievalFindings
from limbeck.tasks.retrieval.measures import DEPTHS, measured
from limbeck.tasks.retrieval.search import search

QUARTILES = (0.25, 0.5, 0.75)


class Collection:
    """The embeddings of the queries and documents of a split, and its judgments, while they come in.

    Args:
        score: how embeddings are compared.
    """

    def __init__(self, score: Score) -> None:
        self.score = score
        self._queries, self._documents = Kept(), Kept()
        self._pairs = torch.empty(0, 3, dtype=torch.int64)
        self.samples = 0

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in the embeddings (B, D) of a batch with its targets (B, 3).

        Where no judgments come with it, as in training, they are the grades of the candidates.
        """
        self.samples += len(batch)
        if batch.judgments is not None:
            self._pairs = batch.judgments
        if batch.targets is None:
            return
        vectors = outputs.logits.detach()
        query, document = batch.targets[:, 0], batch.targets[:, 1]
        of_document = document != UNLABELED
        of_query = (query != UNLABELED) & ~of_document
        if batch.judgments is None:
            self._pairs = torch.cat([self._pairs, batch.targets[(query != UNLABELED) & of_document].cpu()])
        for kept, numbers, which in (
            (self._queries, query, of_query),
            (self._documents, document, of_document),
        ):
            if which.any():
                kept.add(numbers[which], prepared(vectors[which], self.score))

    def queries(self) -> tuple[list[int], Tensor]:
        """The numbers of the queries that have a relevant document, and their vectors (Q, D)."""
        numbers, vectors = self._queries.read()
        judged = self.judgments()
        rows = [row for row, number in enumerate(numbers.tolist()) if number in judged]
        return numbers[rows].tolist(), vectors[rows]

    def documents(self) -> tuple[list[int], Tensor]:
        """The numbers of the documents and their vectors (N, D)."""
        numbers, vectors = self._documents.read()
        return numbers.tolist(), vectors

    def judgments(self) -> dict[int, dict[int, int]]:
        """Grades of documents by query, of the queries that have a relevant one."""
        found: dict[int, dict[int, int]] = {}
        for query, document, grade in self._pairs.tolist():
            found.setdefault(query, {})[document] = grade
        return {query: grades for query, grades in found.items() if max(grades.values()) > 0}


class RetrievalMeter(Meter):
    """Ranks all documents for every query by exact search.

    It keeps the embeddings of a split, 4 bytes a number, because a student and its teacher are compared by
    them; above a gigabyte they lie in a temporary file, and are read a block at a time.

    Args:
        metrics: the names of the metrics.
        score: how embeddings are compared.
        quick: compute the first of the metrics only.
    """

    def __init__(self, metrics: Sequence[str], score: Score, *, quick: bool = False) -> None:
        self._collection, self._quick = Collection(score), quick
        self._metrics = [*metrics][: 1 if quick else None]
        self._found: dict[str, list[float]] | None = None
        self._seconds = 0.0

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in embeddings (B, D) and targets (B, 3)."""
        self._found = None
        self._collection.update(outputs, batch)

    def compute(self) -> dict[str, float]:
        """The mean of each metric over the queries."""
        found = self._by_query()
        return {name: sum(values) / len(values) for name, values in found.items()}

    def findings(self) -> RetrievalFindings:
        """All there is to say; see `limbeck.tasks.Task.measure`."""
        found = self._by_query()
        numbers, queries = self._collection.queries()
        documents = self._collection.documents()[1]
        ndcg = torch.tensor(found["ndcg10"], dtype=torch.float64)
        levels = torch.tensor(QUARTILES, dtype=torch.float64)
        return RetrievalFindings(
            queries=len(numbers),
            documents=len(documents),
            dimensions=documents.shape[1],
            bytes_per_document=4 * documents.shape[1],
            search_ms=1000 * self._seconds / len(numbers),
            zero_queries=zeros(queries),
            zero_documents=zeros(documents),
            missed=float((ndcg == 0).double().mean()),
            ndcg=dict(zip(QUARTILES, ndcg.quantile(levels).tolist(), strict=True)),
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Embeddings of length 0, which find nothing."""
        if self._quick:
            return ()
        counts = [
            (zeros(vectors), what)
            for vectors, what in (
                (self._collection.queries()[1], "queries"),
                (self._collection.documents()[1], "documents"),
            )
        ]
        return tuple(
            f"The embeddings of {count} {what} have length 0, so they are as close to one text as to another."
            for count, what in counts
            if count
        )

    def _by_query(self) -> dict[str, list[float]]:
        if self._found is not None:
            return self._found
        numbers, queries = self._collection.queries()
        known, documents = self._collection.documents()
        if not numbers or not known:
            raise LimbeckError(
                f"none of the {self._collection.samples} texts is a query with a relevant document, and "
                "rankings are measured by those"
            )
        depth = min(len(known), max(DEPTHS[name] for name in self._metrics))
        search(queries[:1], documents[:depth], depth)  # imports faiss, and is not timed
        began = perf_counter()
        ranking = search(queries, documents, depth)
        self._seconds = perf_counter() - began
        self._found = measured(ranking, numbers, known, self._collection.judgments(), self._metrics)
        return self._found


class RetrievalComparison(Comparison):
    """Measures how alike two networks rank.

    Args:
        score: how embeddings are compared.
    """

    def __init__(self, score: Score) -> None:
        self._each = {"student": Collection(score), "teacher": Collection(score)}

    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        """Takes in embeddings of both, (B, D) and (B, D'), and targets (B, 3)."""
        self._each["student"].update(student, batch)
        self._each["teacher"].update(teacher, batch)

    def compute(self) -> RetrievalAgreement:
        """The overlap of the first ten, and the distance of the scores of the teacher's first ten."""
        ours, theirs = self._each["student"], self._each["teacher"]
        (_, mine), (_, its) = ours.queries(), theirs.queries()
        (_, my_documents), (_, its_documents) = ours.documents(), theirs.documents()
        depth = min(10, len(my_documents))
        _, found = search(mine, my_documents, depth)
        scores, wanted = search(its, its_documents, depth)
        shared = (found[:, :, None] == wanted[:, None, :]).any(2).double().mean()
        own = (mine[:, None, :] * my_documents[wanted]).sum(2)
        return RetrievalAgreement(
            agreement=float(shared),
            distance=float((own - scores).abs().mean()),
            first=float((found[:, 0] == wanted[:, 0]).double().mean()),
        )
