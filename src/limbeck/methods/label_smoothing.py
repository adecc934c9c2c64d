"""Rethinking the Inception Architecture for Computer Vision. Szegedy et al., CVPR 2016, arXiv:1512.00567."""

from __future__ import annotations

from torch import Tensor

from limbeck.arguments import Share
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.weighting import row_mean
from limbeck.outputs import Batch, Outputs


class LabelSmoothing(Method):
    """Cross-entropy with labels that give a share of their weight to all classes alike (section 7).

        L = - mean_i sum_c q_ic log p_ic,   p = softmax(z),   q_ic = (1 - epsilon) [c = y_i] + epsilon / C

    A sample without a label counts as zero. Where samples have weights, each counts by its own.

    Args:
        epsilon: the share; the label's own class gets its part of it too, as in torch.
    """

    name = "label_smoothing"
    kind = "task"
    weighs = True
    reads = Reads(student=("logits",), batch=("targets",))
    recipe = "label_smoothing"
    rows = "classes"
    row_wise = True

    def __init__(self, epsilon: Share = 0.1) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        assert batch.targets is not None
        values = cross_entropy(student.logits, batch.targets, epsilon=self.epsilon, reduction="none")
        return row_mean(values, batch)
