"""Learning Efficient Object Detection Models with Knowledge Distillation. Chen et al., NeurIPS 2017."""

from __future__ import annotations

from torch import Tensor

from limbeck.arguments import NonNegative
from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import Reduction, reduce
from limbeck.methods.parts.values import difference, distance, same_values
from limbeck.outputs import Batch, Outputs


def bounded(
    student: Tensor, teacher: Tensor, targets: Tensor, margin: float = 0.0, reduction: Reduction = "mean"
) -> Tensor:
    """Squared error of the student where it is not better than the teacher by a margin (Eq. 4).

        L = mean_i (e(s_i, y_i) where e(s_i, y_i) + m > e(t_i, y_i), 0 elsewhere),   e(a, y) = ||a - y||^2 / K

    The paper has no K; a mean over the values keeps the loss and the margin on one scale for any number of
    them. The teacher is a bound and not a target: its values may be far off, where the targets are right.

    Args:
        student: (B, K) values.
        teacher: (B, K) values.
        targets: (B, K), NaN where a value is not known, which counts as no error of either.
        margin: m, at least 0, by which the student's squared error should be below the teacher's.
        reduction: "mean" for a scalar, "none" for (B,).
    Raises:
        LimbeckError: if the shapes differ, or are not (B, K).
    """
    same_values("bounded", student, teacher, targets)
    ours, theirs = (distance(difference(values, targets), "mse") for values in (student, teacher))
    return reduce(ours.where(ours + margin > theirs, 0), reduction)


class Bounded(Method):
    """The targets, as long as the student is not better than its teacher.

    The paper adds it with a weight to the smooth L1 loss to the targets (Eq. 5), which is `huber`.

    Args:
        margin: squared error, in variances of the targets, by which the student should be better.
    """

    rows = "values"
    reads = Reads(student=("logits",), teacher=("logits",), batch=("targets",))
    recipe = "huber + 0.5*bounded"

    def __init__(self, margin: NonNegative = 0.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        assert batch.targets is not None
        return bounded(student.logits, teacher.logits, batch.targets, self.margin)
