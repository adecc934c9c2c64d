"""Retrieval: an embedding for each text, by which queries find documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED
from limbeck.tasks.measuring import Agreement, Findings, Meter, Metric
from limbeck.tasks.parts.embedding import EmbeddingTask
from limbeck.tasks.retrieval.findings import RetrievalAgreement, RetrievalFindings
from limbeck.tasks.retrieval.meter import RetrievalComparison, RetrievalMeter
from limbeck.tasks.retrieval.sections import sections, weaknesses
from limbeck.tasks.sections import Section
from limbeck.tasks.targets import as_tensor, same_size


@dataclass(frozen=True)
class Retrieval(EmbeddingTask):
    """A sample is one text, a query or a document, and a row is a sample; the output is its embedding (B, D).

    Targets are (N, 3) int64: the number of a query, the number of a document, and a grade, how relevant the
    one is to the other, above 0 if it is. `UNLABELED` stands for what there is not:

        (q, UNLABELED, UNLABELED)           the text of query q
        (q, d, grade)                       the text of document d, a candidate for query q
        (UNLABELED, d, UNLABELED)           the text of document d
        (UNLABELED, UNLABELED, UNLABELED)   a text of which nothing is known

    To train on, a query is followed by its candidates, a relevant one first; all of them stay in one batch
    (`Split.together`), so that whatever compares rows sees queries among documents, and what compares a query
    with its candidates finds them behind it (`limbeck.methods.parts.candidates`). To measure on, a split has
    each query and each document once, and the grades of their pairs in `Split.judgments`.

    As one row is one sample, what compares embeddings works as for any task, and the answers of a teacher are
    cached once for each text, however many queries it is a candidate for.

    Args:
        names: none, as outputs have no names.
        score: how a query and a document are compared, "cosine" or "dot".
    """

    name = "retrieval"
    ranked = True
    distance: ClassVar[str] = "mean difference of the scores of the teacher's first ten documents"
    findings = RetrievalFindings
    agreement: ClassVar[type[Agreement]] = RetrievalAgreement
    metrics = (
        Metric("ndcg10", "nDCG@10"),
        Metric("recall100", "recall@100"),
        Metric("mrr10", "MRR@10"),
        Metric("map", "MAP"),
    )

    @classmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        """(N, 3) int64; all `UNLABELED` for None."""
        if targets is None:
            return torch.full((size, 3), UNLABELED)
        given = as_tensor(targets, which, "query, document and grade, (N, 3) integers")
        if given.is_floating_point() or given.dtype == torch.bool or given.shape != (size, 3):
            same_size(given, size, which)
            raise LimbeckError(
                f"the {which} targets should be query, document and grade, integers of shape ({size}, 3), "
                f"not {given.dtype} of shape {tuple(given.shape)}"
            )
        return given.long()

    def check(self, targets: Tensor, which: str) -> None:
        """Refuses negative numbers and grades, but for `UNLABELED`."""
        wrong = (targets < 0) & (targets != UNLABELED)
        if wrong.any():
            place, part = wrong.nonzero()[0].tolist()
            raise LimbeckError(
                f"the {('query', 'document', 'grade')[part]} of the {which} target {place} is "
                f"{int(targets[place, part])}, not a number from 0 on, or {UNLABELED} for none"
            )

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        """The queries and their candidates."""
        return targets[:, 0] != UNLABELED

    @classmethod
    def judgments(cls, targets: Tensor) -> Tensor | None:
        """(J, 3) the relevant candidates of all queries, each once."""
        relevant = (targets[:, 0] != UNLABELED) & (targets[:, 1] != UNLABELED) & (targets[:, 2] > 0)
        return torch.unique(targets[relevant], dim=0) if relevant.any() else None

    def counts(self, targets: Tensor) -> tuple[int, ...]:
        """How many different queries have candidates, or are searched for."""
        return (len(torch.unique(targets[self.labeled(targets), 0])),)

    def meter(self, *, quick: bool = False) -> RetrievalMeter:
        """Ranks all documents for every query; the first metric only if quick."""
        return RetrievalMeter([metric.name for metric in self.metrics], self.score, quick=quick)

    def comparison(self) -> RetrievalComparison:
        """The overlap of two rankings."""
        return RetrievalComparison(self.score)

    def measure(self, meter: Meter, validation: Meter | None) -> RetrievalFindings:
        """The ranking in figures; nothing is chosen on the validation split."""
        assert isinstance(meter, RetrievalMeter)
        return meter.findings()

    def weaknesses(self, found: Findings) -> tuple[str, ...]:
        """The share of queries that find nothing."""
        assert isinstance(found, RetrievalFindings)
        return weaknesses(found)

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        """How the queries differ, and what an index of the documents takes."""
        return sections(found, agreement)

    def recipe(self, *, teacher: bool) -> str:
        """The teacher's embeddings; without a teacher the candidates of each query."""
        return "cosine" if teacher else "contrastive"
