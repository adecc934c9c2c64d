"""Cross-entropy with the labels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import class_ids, class_logits
from limbeck.methods.parts.weighting import row_mean
from limbeck.outputs import UNLABELED, Batch, Outputs


def cross_entropy(
    logits: Tensor, targets: Tensor, epsilon: float = 0.0, reduction: Reduction = "mean"
) -> Tensor:
    """Cross-entropy of softmax(logits) with the targets.

        L = - mean_i sum_c q_ic log p_ic,   p = softmax(z),   q_ic = (1 - epsilon) [c = y_i] + epsilon / C

    The mean is over **all** samples, so that a batch split in two gives the same gradient; a sample without
    a label (`UNLABELED`) counts as zero.

    Args:
        logits: (B, C), C at least 2.
        targets: (B,) int64 class ids.
        epsilon: label smoothing, the share of the target that is spread over all classes.
        reduction: "mean" for a scalar, "none" for (B,).
    Raises:
        LimbeckError: for other shapes or dtypes.
    """
    class_logits("cross_entropy", logits=logits)
    class_ids("cross_entropy", logits, targets)
    per_sample = F.cross_entropy(
        full_precision(logits), targets, ignore_index=UNLABELED, label_smoothing=epsilon, reduction="none"
    )
    return reduce(per_sample, reduction)


class CE(Method):
    """Cross-entropy with the labels."""

    kind = "task"
    weighs = True
    reads = Reads(student=("logits",), batch=("targets",))
    recipe = "ce"
    rows = "classes"
    row_wise = True

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        assert batch.targets is not None
        return row_mean(cross_entropy(student.logits, batch.targets, reduction="none"), batch)
