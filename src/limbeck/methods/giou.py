"""The student's boxes lie where the teacher's do, by Rezatofighi et al., CVPR 2019, arXiv:1902.09630.

The paper is that of the generalized IoU. The weights of the places are limbeck's own.
"""

from __future__ import annotations

from torch import Tensor

from limbeck.boxes import generalized_iou
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import Reads
from limbeck.methods.parts.blocks import Reduction, full_precision, reduce
from limbeck.methods.parts.shapes import floating
from limbeck.outputs import Batch, Outputs


def giou(student: Tensor, teacher: Tensor, weights: Tensor, reduction: Reduction = "mean") -> Tensor:
    """Distance of two networks' boxes, the weighted mean over the places of an image of 1 - GIoU.

        sum_l w_l (1 - GIoU(s_l, t_l)) / max(1, sum_l w_l)

    Args:
        student: (B, L, 4) boxes x1, y1, x2, y2.
        teacher: the same shape.
        weights: (B, L) at least 0; an image of which all weigh less than 1 counts that much less.
        reduction: "mean" for the batch mean, a scalar; "none" for (B,).
    Raises:
        LimbeckError: for different or other shapes.
    """
    for name, tensor in (("student", student), ("teacher", teacher), ("weights", weights)):
        floating("giou", name, tensor)
    if student.shape != teacher.shape or student.ndim != 3 or student.shape[2] != 4:
        raise LimbeckError(
            f"giou compares boxes (B, L, 4) of the same L places, not {tuple(student.shape)} and "
            f"{tuple(teacher.shape)}"
        )
    if weights.shape != student.shape[:2]:
        raise LimbeckError(
            f"giou: weights must have the shape {tuple(student.shape[:2])}, one for each place, not "
            f"{tuple(weights.shape)}"
        )
    distance = 1 - generalized_iou(full_precision(student), full_precision(teacher))
    weights = full_precision(weights)
    return reduce((weights * distance).sum(1) / weights.sum(1).clamp(min=1), reduction)


class GIoU(Method):
    """At each place the student's box is compared with the teacher's, by their generalized IoU.

    A place counts as much as the teacher is sure that it has an object: one less its probability of the
    background.
    """

    name = "giou"
    reads = Reads(student=("boxes",), teacher=("logits", "boxes"))
    recipe = "fcos + kd(temperature=1) + giou"
    tasks = ("detection",)
    per = "samples"

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        """Scalar."""
        boxes = teacher["boxes"]
        weights = 1 - teacher.logits.softmax(1)[:, -1].view(boxes.shape[:2])
        return giou(student["boxes"], boxes, weights)
