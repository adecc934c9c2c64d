"""Imitation of a teacher's values: the distance between two regressors."""

from __future__ import annotations

from torch import Tensor

from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import word
from limbeck.methods.parts.values import Distance, distance, same_values
from limbeck.outputs import Batch, Outputs


def imitation(
    student: Tensor, teacher: Tensor, loss: Distance = "mse", reduction: Reduction = "mean"
) -> Tensor:
    """Mean distance of the student's values from the teacher's, L = mean_i mean_k d(s_ik - t_ik).

        mse     d(x) = x^2
        l1      d(x) = |x|
        huber   d(x) = x^2 / 2 where |x| <= 1, |x| - 1/2 elsewhere

    Args:
        student: (B, K) values.
        teacher: (B, K) values.
        loss: d, by the names above.
        reduction: "mean" for a scalar, "none" for (B,).
    Raises:
        LimbeckError: if the shapes differ, or are not (B, K).
    """
    word("imitation", "loss", loss, Distance)
    same_values("imitation", student, teacher)
    return reduce(distance(full_precision(student) - full_precision(teacher), loss), reduction)


class Imitation(Method):
    """The student's values follow the teacher's, which need no targets and carry less noise than those.

    Args:
        loss: distance of the values: "mse", "l1", or "huber", which is linear from one standard deviation of
            the targets on.
    """

    rows = "values"
    reads = Reads(student=("logits",), teacher=("logits",))
    recipe = "0.5*mse + 0.5*imitation"

    def __init__(self, loss: Distance = "mse") -> None:
        super().__init__()
        self.loss = loss

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        return imitation(student.logits, teacher.logits, self.loss)
