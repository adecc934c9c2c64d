"""Robust Estimation of a Location Parameter. Huber, Annals of Mathematical Statistics 35, 1964."""

from __future__ import annotations

from torch import Tensor

from limbeck.arguments import Positive
from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import Reduction, reduce
from limbeck.methods.parts.values import difference, distance, same_values
from limbeck.methods.parts.weighting import row_mean
from limbeck.outputs import Batch, Outputs


def huber(student: Tensor, targets: Tensor, delta: float = 1.0, reduction: Reduction = "mean") -> Tensor:
    """Distance of the student's values from the targets, squared up to delta and linear beyond it.

        L    = mean_i mean_k h(s_ik - y_ik)
        h(x) = x^2 / 2 where |x| <= delta, delta (|x| - delta / 2) elsewhere

    The mean is over **all** values, so that a batch split in two gives the same gradient; a value without a
    target (NaN) counts as zero.

    Args:
        student: (B, K) values.
        targets: (B, K), NaN where a value is not known.
        delta: difference, greater than 0, from which the loss is linear; with 1 it is the smooth L1 loss.
        reduction: "mean" for a scalar, "none" for (B,).
    Raises:
        LimbeckError: if the shapes differ, or are not (B, K).
    """
    same_values("huber", student, targets)
    return reduce(distance(difference(student, targets), "huber", delta), reduction)


class Huber(Method):
    """Distance to the targets that is linear from `delta` on, so that outliers pull less.

    Args:
        delta: difference from which the loss is linear, in standard deviations of the targets.
    """

    kind = "task"
    weighs = True
    rows = "values"
    reads = Reads(student=("logits",), batch=("targets",))
    recipe = "huber"

    def __init__(self, delta: Positive = 1.0) -> None:
        super().__init__()
        self.delta = delta

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        assert batch.targets is not None
        return row_mean(huber(student.logits, batch.targets, self.delta, reduction="none"), batch)
