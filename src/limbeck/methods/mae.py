"""Mean absolute error to the targets."""

from __future__ import annotations

from torch import Tensor

from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import Reduction, reduce
from limbeck.methods.parts.values import difference, distance, same_values
from limbeck.methods.parts.weighting import row_mean
from limbeck.outputs import Batch, Outputs


def mae(student: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Mean absolute difference of the student's values from the targets.

        L = mean_i mean_k |s_ik - y_ik|

    The mean is over **all** values, so that a batch split in two gives the same gradient; a value without a
    target (NaN) counts as zero.

    Args:
        student: (B, K) values.
        targets: (B, K), NaN where a value is not known.
        reduction: "mean" for a scalar, "none" for (B,).
    Raises:
        LimbeckError: if the shapes differ, or are not (B, K).
    """
    same_values("mae", student, targets)
    return reduce(distance(difference(student, targets), "l1"), reduction)


class MAE(Method):
    """Mean absolute error to the targets, in units of their standard deviations, or of pixels in [0, 1]."""

    kind = "task"
    weighs = True
    rows = "values"
    reads = Reads(student=("logits",), batch=("targets",))
    recipe = "mae"

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        assert batch.targets is not None
        return row_mean(mae(student.logits, batch.targets, reduction="none"), batch)
