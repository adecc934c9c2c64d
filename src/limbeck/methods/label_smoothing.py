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

    Args:
        epsilon: the share; each of the C classes gets epsilon/C of it, the label's own included, as in torch.
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
