"""EmbedDistill, a geometric distillation for retrieval. Kim et al. 2023, arXiv:2301.12005.

The matching of embeddings is Eq. 7 and 8. The paper's weights of the parts and its temperature were not to be
had. Here the embeddings weigh 1, and the scores, at the temperature of `listwise`, 0.01: the more they weigh
beside embeddings of the same teacher, the worse a static table finds on validation queries.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from limbeck.arguments import NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.cosine import cosine
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.embedding_mse import embedding_mse
from limbeck.methods.listwise import Among, over_candidates
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.candidates import Score, candidates, pairs_alone, prepared
from limbeck.methods.parts.shapes import vectors
from limbeck.methods.parts.widths import projection, same_width
from limbeck.methods.terms import Term
from limbeck.outputs import UNLABELED, Batch, Outputs


def embeddistill(student: Tensor, teacher: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Mean Euclidean distance of the two networks' embeddings of a text (Eq. 7, 8).

        R = mean_i |s_i - t_i|_2

    The norm is not squared. Where the embeddings are the same, its gradient is 0.

    Args:
        student: (B, D) embeddings.
        teacher: (B, D) embeddings.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: if the shapes differ, or are not (B, D).
    """
    vectors("embeddistill", student=student, teacher=teacher)
    same_width("embeddistill", student, teacher)
    return reduce(
        torch.linalg.vector_norm(full_precision(student) - full_precision(teacher), dim=1), reduction
    )


DISTANCES = {"l2": embeddistill, "cosine": cosine, "mse": embedding_mse}


class EmbedDistill(Method):
    """The student's embeddings of queries and of documents are the teacher's, and so are its scores.

    A cross-encoder as the teacher embeds a query and a document as it reads the two together, by dual
    pooling: the student's embeddings are compared with these for each query and each of its own candidates
    (texts of which nothing is known have none), and its scores with the cross-encoder's. It takes
    `among="given"`, and `teacher_temperature` for the scale of its scores. With the score "cosine" all
    embeddings are of unit length.

    Its terms are "query", "document" and "score". Texts of which nothing is known, such as queries that a
    language model wrote, count as queries. The scores are compared over the candidates of each query, as in
    `listwise`; where no query of a batch has any, that term is 0.

    Args:
        query: weight of the embeddings of queries; 0 leaves them out.
        document: weight of the embeddings of documents; 0 leaves them out.
        listwise: weight of the scores; 0 leaves them out. A cross-encoder teaches by its scores: give them 1.
        distance: of embeddings: "l2" as in the paper, "cosine" or "mse".
        among: "batch" to compare scores over the documents of all queries of the batch, "given" over the
            query's own candidates.
        temperature: divides the student's scores, and the teacher's too unless the next says otherwise.
        teacher_temperature: divides the teacher's scores.
        score: how a query and a document are compared, "cosine" or "dot".
        projection: whether a layer may map the student's embedding to the teacher's width; it is not shipped.
    """

    reads = Reads(student=("embedding",), teacher=("embedding",))
    rows = "vectors"
    from_pairs = True
    recipe = "contrastive + embeddistill"

    def __init__(
        self,
        query: NonNegative = 1.0,
        document: NonNegative = 1.0,
        listwise: NonNegative = 0.01,
        distance: Literal["l2", "cosine", "mse"] = "l2",
        among: Among = "batch",
        temperature: Positive = 0.05,
        teacher_temperature: Positive | None = None,
        score: Score = "cosine",
        projection: bool = True,
    ) -> None:
        super().__init__()
        if not query and not document and not listwise:
            raise LimbeckError(
                "embeddistill: query, document and listwise are all 0, so there is nothing left; give "
                "one a weight"
            )
        self.scored = True
        self.weights = {"query": query, "document": document}
        self.weight, self.distance, self.allowed = listwise, distance, projection
        self.among, self.score = among, score
        self.min_together = 3 if listwise and among == "given" else 1
        self.temperature, self.teacher_temperature = temperature, teacher_temperature

    def bind(self, context: Context) -> None:
        """Builds the projection where the widths differ.

        Raises:
            LimbeckError: for scores of the batch's documents from a teacher that knows pairs alone.
        """
        assert context.teacher is not None
        if self.weight and "scores" in context.teacher and self.among == "batch":
            raise LimbeckError(pairs_alone(self.name))
        self.scored = context.task.ranked
        if not self.scored and not any(self.weights.values()):
            raise LimbeckError(
                f"{self.name} is told to compare nothing but scores of documents, and {context.task.name} "
                "has none; give query and document a weight"
            )
        self.project = projection(context, self.name, allowed=self.allowed)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms that have a weight; one is 0 where the batch has nothing for it."""
        ours = self.project(student.embedding)
        matched = self._pairs if "pairs" in teacher else self._texts
        terms = {
            name: Term(value, weight=self.weights[name])
            for name, value in matched(ours, teacher, batch).items()
            if self.weights[name]
        }
        if self.weight and self.scored and batch.targets is not None:
            value = over_candidates(
                self.name,
                student.embedding,
                teacher,
                batch.targets,
                self.among,
                self.score,
                self.temperature,
                self.teacher_temperature,
            )
            terms["score"] = Term(value, weight=self.weight)
        return terms

    def _texts(self, ours: Tensor, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The distances from a teacher that embeds each text by itself; () each, over its kind of texts."""
        of_document = torch.zeros(len(ours), dtype=torch.bool, device=ours.device)
        if batch.targets is not None and batch.targets.ndim == 2 and batch.targets.shape[1] == 3:
            of_document = batch.targets[:, 1] != UNLABELED
        each = DISTANCES[self.distance](ours, teacher.embedding, "none")
        kinds = {"query": ~of_document, "document": of_document}
        return {name: (each * which).sum() / which.sum().clamp(min=1) for name, which in kinds.items()}

    def _pairs(self, ours: Tensor, teacher: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The distances from a teacher that embeds pairs; () each, over the pairs."""
        assert batch.targets is not None
        found = candidates(batch.targets, self.name)
        if not len(found):
            return dict.fromkeys(("query", "document"), 0 * ours.sum())
        documents = found.documents
        queries = found.queries[:, None].expand_as(documents)
        theirs = prepared(teacher["pairs"][documents], self.score).flatten(0, 1)
        ours = prepared(ours, self.score)
        distance = DISTANCES[self.distance]
        return {
            "query": distance(ours[queries].flatten(0, 1), theirs[:, 0]),
            "document": distance(ours[documents].flatten(0, 1), theirs[:, 1]),
        }
