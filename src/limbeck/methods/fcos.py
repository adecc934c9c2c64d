"""The losses of a detector. Tian et al., FCOS, ICCV 2019, arXiv:1904.01355, with softmax for the classes.

The paper divides by the places that have an object in the whole batch; here each image is divided by its own,
as in torchvision's RetinaNet, so that splitting a batch changes nothing.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.arguments import NonNegative, Share
from limbeck.boxes import generalized_iou
from limbeck.methods.base import Method
from limbeck.methods.declarations import LossTerms, Reads
from limbeck.methods.focal import focal
from limbeck.methods.terms import Kind, Term
from limbeck.outputs import UNLABELED, Batch, Outputs


def centrality(places: Tensor, boxes: Tensor) -> Tensor:
    """(...) how central places (..., 2) are in their boxes (..., 4), in [0, 1] (FCOS, equation 3).

        c = sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b))

    The distances of a place from the sides of its box are l, t, r and b; outside of the box c is 0.
    """
    before, after = places - boxes[..., :2], boxes[..., 2:] - places
    shares = torch.minimum(before, after) / torch.maximum(before, after)
    return shares.clamp(min=0).prod(-1).sqrt()


class FCOS(Method):
    """A detector learns classes, boxes, and how central a place is in its box.

        class  = mean_images sum over places of -a_y (1 - p_y)^gamma log p_y / N,   p = softmax(z)
        box    = mean_images sum over objects of c (1 - GIoU(b, b_y)) / sum over objects of c
        center = mean_images sum over objects of BCE(sigmoid(o), c) / N

    These are its three terms. The objects of an image are its N places that have a box b_y to find. Of each,
    b is the box that the student finds, c how central the place is in b_y (`centrality`), and o the student's
    logit of that. The focal loss, "class", is of all places; at those without an object y is the class of no
    object. N counts as 1 at least, and the sum of c as 1e-6.

    Args:
        gamma: exponent of the focal loss.
        alpha: weight of a place with an object in it; one without has 1 - alpha.
        box_weight: factor of the term "box".
        center_weight: factor of the term "center".
    """

    kind: ClassVar[Kind] = "task"
    reads = Reads(student=("logits", "boxes", "centerness", "places"), batch=("targets",))
    recipe = "fcos"
    rows = "classes"
    tasks = ("detection",)
    per = "samples"

    def __init__(
        self,
        gamma: NonNegative = 2.0,
        alpha: Share = 0.25,
        box_weight: NonNegative = 1.0,
        center_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__()
        self.gamma, self.alpha = gamma, alpha
        self.box_weight, self.center_weight = box_weight, center_weight

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The three terms."""
        assert batch.targets is not None
        assert batch.rows is not None
        assert batch.rows.boxes is not None, "the task makes them where there are targets"
        images = student["boxes"].shape[0]
        background = student.logits.shape[1] - 1
        has = (batch.targets != background) & (batch.targets != UNLABELED)
        number = has.view(images, -1).sum(1).clamp(min=1)

        def of_images(values: Tensor, divisor: Tensor) -> Tensor:
            """The mean over the images of sums over their places, each divided by a number."""
            return (values.view(images, -1).sum(1) / divisor).mean()

        # What has no box is compared with itself, so that no gradient is NaN; it counts zero.
        found, places = student["boxes"].flatten(0, 1), student["places"].flatten(0, 1)[:, :2]
        boxes = torch.where(has[:, None], batch.rows.boxes, found.detach())
        central = torch.where(has, centrality(places, boxes), 0).nan_to_num()
        weights = student.logits.new_full((background + 1,), self.alpha)
        weights[background] = 1 - self.alpha
        classes = focal(student.logits, batch.targets, self.gamma, weights, "none")
        distance = central * (1 - generalized_iou(found, boxes))
        center = F.binary_cross_entropy_with_logits(
            student["centerness"].flatten(), central, reduction="none"
        ).where(has, 0)
        return {
            "class": Term(of_images(classes, number), self.kind, per=self.per),
            "box": Term(
                of_images(distance, central.view(images, -1).sum(1).clamp(min=1e-6)),
                self.kind,
                self.box_weight,
                self.per,
            ),
            "center": Term(of_images(center, number), self.kind, self.center_weight, self.per),
        }
