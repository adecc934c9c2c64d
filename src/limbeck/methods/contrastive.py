"""Contrastive learning of retrieval with in-batch and hard negatives.

van den Oord et al. 2018, arXiv:1807.03748 (Eq. 4), in the form of Karpukhin et al., EMNLP 2020,
arXiv:2004.04906 (Eq. 2), which sentence-transformers calls MultipleNegativesRankingLoss.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Positive
from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import gather
from limbeck.methods.parts.candidates import Score, candidates, grouped, scores_in_batch
from limbeck.methods.parts.shapes import word
from limbeck.methods.terms import Kind
from limbeck.outputs import Batch, Outputs


def contrastive(
    queries: Tensor,
    documents: Tensor,
    temperature: float = 0.05,
    score: Score = "cosine",
    excluded: Tensor | None = None,
) -> Tensor:
    """Each query picks out its relevant document among the documents of all queries.

        L = mean_q -log softmax_d(s(q, d) / T) [d = d_q]

    Args:
        queries: (Q, D) embeddings.
        documents: (Q, n, D) embeddings: of each query a relevant document, and n - 1 negatives of its own.
        temperature: T > 0; 0.05 is a scale of 20.
        score: s, "cosine" or "dot".
        excluded: (Q, Q * n) bool, documents that are no negatives of a query, such as other relevant ones;
            None for none.
    Returns: scalar, the mean over the queries.
    Raises:
        LimbeckError: for other shapes.
    """
    word("contrastive", "score", score, Score)
    grouped("contrastive", queries, documents)
    logits = scores_in_batch(queries, documents, score) / temperature
    if excluded is not None:
        logits = logits.masked_fill(excluded, -math.inf)
    right = torch.arange(len(queries), device=queries.device) * documents.shape[1]
    return F.cross_entropy(logits, right)


class Contrastive(Method):
    """Each query picks out its relevant document among the candidates of all queries of the batch.

    It learns from judgments and needs no teacher. Negatives are the candidates of the other queries, of all
    processes, and those that the data puts behind the relevant one (`negatives=`). A document that is
    relevant to the query too, as far as the data says, is no negative.

    Args:
        temperature: divides the scores before the softmax.
        score: how a query and a document are compared, "cosine" or "dot".
        mask: whether other relevant documents are left out of the negatives.
    """

    kind: ClassVar[Kind] = "task"
    reads = Reads(student=("embedding",), batch=("targets",))
    rows = "vectors"
    ranks = True
    recipe = "contrastive"
    min_samples = 2

    def __init__(self, temperature: Positive = 0.05, score: Score = "cosine", mask: bool = True) -> None:
        super().__init__()
        self.temperature, self.score, self.mask = temperature, score, mask

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar, over the batch of all processes; 0 where no query is in it."""
        assert batch.targets is not None
        vectors, targets = gather(student.embedding), gather(batch.targets)
        found = candidates(targets, self.name)
        if not len(found):
            return 0 * vectors.sum()
        return contrastive(
            vectors[found.queries],
            vectors[found.documents],
            self.temperature,
            self.score,
            found.relevant_elsewhere(batch.judgments) if self.mask else None,
        )
