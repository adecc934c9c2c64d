"""Listwise score distillation: the distribution over the candidates of a query.

Of the documents of the batch as Lin, Yang & Lin 2020, arXiv:2010.11386, have it, and of the query's own
candidates as Ren et al., EMNLP 2021, arXiv:2110.07367; the latter is DistillKLDivLoss in
sentence-transformers.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import Positive
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, gather, reduce
from limbeck.methods.parts.candidates import (
    Score,
    candidates,
    pairs_alone,
    scores,
    scores_in_batch,
    taught_scores,
)
from limbeck.methods.parts.ranked import same_scores
from limbeck.outputs import Batch, Outputs

Among: TypeAlias = Literal["batch", "given"]
"""The documents that a query is compared with: those of the batch, or its own candidates."""


def listwise(
    student_scores: Tensor,
    teacher_scores: Tensor,
    temperature: float = 1.0,
    teacher_temperature: float | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Divergence of the student's distribution over candidates from the teacher's, T^2 KL(p_t || p_s).

        p_s = softmax_d(s(q, d) / T),   p_t = softmax_d(t(q, d) / T_t)

    Args:
        student_scores: (Q, n) scores of each query with its candidates, n at least 2.
        teacher_scores: (Q, n) scores of the same pairs.
        temperature: T > 0; T^2 keeps the gradient's scale.
        teacher_temperature: T_t > 0, for scores on another scale, such as a cross-encoder's; T if None.
        reduction: "mean" for the mean over the queries, a scalar; "none" for (Q,).
    Raises:
        LimbeckError: for other shapes.
    """
    same_scores("listwise", student_scores, teacher_scores)
    softer = temperature if teacher_temperature is None else teacher_temperature
    student = F.log_softmax(full_precision(student_scores) / temperature, 1)
    teacher = F.log_softmax(full_precision(teacher_scores) / softer, 1)
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
    return reduce(temperature**2 * divergence, reduction)


def over_candidates(
    method: str,
    vectors: Tensor,
    teacher: Outputs,
    targets: Tensor,
    among: Among,
    score: Score,
    temperature: float,
    teacher_temperature: float | None,
) -> Tensor:
    """The loss over the queries of the batch of all processes; 0 where none has two documents to compare.

    Args:
        method: name of the method, for messages.
        vectors: (P, D) embeddings of the student.
        teacher: outputs of the teacher for the same rows.
        targets: (P, 3), see `limbeck.tasks.Retrieval`.
        among: which documents are compared, like all that follow as in `Listwise`.
    Raises:
        LimbeckError: for "given" candidates where each query has one.
    """
    ours, targets = gather(vectors), gather(targets)
    found = candidates(targets, method)
    if found.documents.numel() < 2:
        return 0 * ours.sum()
    if among == "given" and found.documents.shape[1] < 2:
        raise LimbeckError(
            f'{method}(among="given") compares the candidates of a query, and each has one; give data with '
            'negatives=1 or more, or among="batch"'
        )
    in_batch = among == "batch"
    theirs = taught_scores(method, teacher, found, score, in_batch=in_batch)
    between = scores_in_batch if in_batch else scores
    student = between(ours[found.queries], ours[found.documents], score)
    softer = temperature if teacher_temperature is None else teacher_temperature
    return listwise(student / temperature, theirs / softer)


class Listwise(Method):
    """The distribution of a query over its documents matches the teacher's.

        L = mean_q KL(p_t || p_s),   p = softmax_d(score(q, d) / T)

    It has no factor T^2, as in both papers: with the small T of cosines that would take nearly all of its
    weight beside `contrastive`, which has none either.

    Args:
        among: "batch" for the documents of all queries of the batch, of all processes; "given" for the
            query's own candidates, which takes data with `negatives=1` or more.
        temperature: divides the student's scores, and the teacher's too unless the next says otherwise.
        teacher_temperature: divides the teacher's scores.
        score: how a query and a document are compared, "cosine" or "dot".
    """

    reads = Reads(student=("embedding",), teacher=("embedding",), batch=("targets",))
    rows = "vectors"
    ranks = True
    recipe = "listwise"
    min_samples = 4
    from_pairs = True

    def __init__(
        self,
        among: Among = "batch",
        temperature: Positive = 0.05,
        teacher_temperature: Positive | None = None,
        score: Score = "cosine",
    ) -> None:
        super().__init__()
        self.among, self.score = among, score
        self.min_together = 3 if among == "given" else 1
        self.temperature, self.teacher_temperature = temperature, teacher_temperature

    def bind(self, context: Context) -> None:
        """Refuses a teacher that cannot tell what is asked of it."""
        if context.teacher is not None and "scores" in context.teacher and self.among == "batch":
            raise LimbeckError(pairs_alone(self.name))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar, over the batch of all processes; 0 where no query is in it."""
        assert batch.targets is not None
        return over_candidates(
            self.name,
            student.embedding,
            teacher,
            batch.targets,
            self.among,
            self.score,
            self.temperature,
            self.teacher_temperature,
        )
