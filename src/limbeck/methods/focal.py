"""Focal Loss for Dense Object Detection. Lin et al., ICCV 2017, arXiv:1708.02002."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import NonNegative
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import class_ids, class_logits
from limbeck.methods.parts.weighting import ClassWeights, row_mean, settled
from limbeck.outputs import UNLABELED, Batch, Outputs

TINY = 1e-12


def focal(
    logits: Tensor,
    targets: Tensor,
    gamma: float = 2.0,
    weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy in which what is already right counts less (equations 4 and 5), with softmax for p.

        FL = - a_y (1 - p_y)^gamma log p_y

    The paper has two classes and a sigmoid; here p is the softmax over C classes. The mean is over **all**
    samples; one without a label (`UNLABELED`) counts as zero.

    Args:
        logits: (B, C), C at least 2.
        targets: (B,) int64 class ids.
        gamma: the exponent; 0 for cross-entropy.
        weights: (C,) a for each class; 1 for all if None.
        reduction: "mean" for a scalar, "none" for (B,).
    Raises:
        LimbeckError: for other shapes or dtypes.
    """
    class_logits("focal", logits=logits)
    class_ids("focal", logits, targets)
    log_p = -F.cross_entropy(full_precision(logits), targets, ignore_index=UNLABELED, reduction="none")
    wrong = (-log_p.expm1()).clamp(min=TINY)  # 1 - p; a power below 1 has no gradient at 0
    per_sample = -(wrong**gamma) * log_p
    if weights is not None:
        per_sample = per_sample * weights.to(per_sample)[targets.clamp(min=0)]
    return reduce(per_sample, reduction)


class Focal(Method):
    """Cross-entropy with the labels, in which samples that are already right count less.

    Args:
        gamma: exponent of the probability that the label lacks; 0 for cross-entropy.
        class_weights: a weight for each class, in their order; "balanced" for n / (C n_c), where n_c of the n
            labels are of class c.
    """

    kind = "task"
    weighs = True
    reads = Reads(student=("logits",), batch=("targets",))
    recipe = "focal"
    rows = "classes"
    row_wise = True

    weights: Tensor | None

    def __init__(self, gamma: NonNegative = 2.0, class_weights: ClassWeights = None) -> None:
        super().__init__()
        self.gamma, self.class_weights = gamma, class_weights

    def bind(self, context: Context) -> None:
        """Settles the weights of the classes."""
        self.register_buffer("weights", settled(self.name, self.class_weights, context), persistent=False)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        assert batch.targets is not None
        values = focal(student.logits, batch.targets, self.gamma, self.weights, reduction="none")
        return row_mean(values, batch)
