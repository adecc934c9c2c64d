"""MarginMSE. Hofstätter et al. 2021, arXiv:2010.02666 (Eq. 5)."""

from __future__ import annotations

from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import LossTerms, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, gather, reduce
from limbeck.methods.parts.candidates import Score, candidates, scores, taught_scores
from limbeck.methods.parts.ranked import same_scores
from limbeck.outputs import Batch, Outputs


def margin_mse(student_scores: Tensor, teacher_scores: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Mean squared difference of the margins by which the first candidate of a query is above the others.

        L = mean_q mean_k ((s_q0 - s_qk) - (t_q0 - t_qk))^2,   k = 1 .. n - 1

    Only differences count, so the scores of student and teacher may be on different levels, but not on
    different scales.

    Args:
        student_scores: (Q, n) scores of each query with its candidates, the relevant one first; n at least 2.
        teacher_scores: (Q, n) scores of the same pairs.
        reduction: "mean" for the mean over the queries, a scalar; "none" for (Q,).
    Raises:
        LimbeckError: for other shapes.
    """
    same_scores("margin_mse", student_scores, teacher_scores)
    difference = full_precision(student_scores) - full_precision(teacher_scores)
    return reduce((difference[:, :1] - difference[:, 1:]).square().mean(1), reduction)


class MarginMSE(Method):
    """The student prefers the relevant candidate of a query to the negatives by as much as the teacher does.

    It takes negatives: data with `negatives=1` or more.

    Args:
        score: how a query and a document are compared, "dot" as in the paper, or "cosine".
    """

    name = "margin_mse"
    reads = Reads(student=("embedding",), teacher=("embedding",), batch=("targets",))
    rows = "vectors"
    ranks = True
    recipe = "margin_mse"
    min_samples = 3
    min_together = 3
    from_pairs = True

    def __init__(self, score: Score = "dot") -> None:
        super().__init__()
        self.score = score

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """Scalar, over the batch of all processes; 0 where no query is in it."""
        assert batch.targets is not None
        ours, targets = gather(student.embedding), gather(batch.targets)
        found = candidates(targets, self.name)
        if not len(found):
            return 0 * ours.sum()
        if found.documents.shape[1] < 2:
            raise LimbeckError(
                "margin_mse compares the relevant document of a query with its negatives, and there are "
                "none; give data with negatives=1 or more, or use listwise, which takes those of the batch"
            )
        student_scores = scores(ours[found.queries], ours[found.documents], self.score)
        return margin_mse(student_scores, taught_scores(self.name, teacher, found, self.score))
