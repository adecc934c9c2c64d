"""The objects that a teacher finds are the student's labels. Sohn et al., 2020, arXiv:2005.04757 (STAC).

Of the paper it is the pseudo labels and their threshold; its strong augmentation of what the student sees is
not here, and the student's losses are those of `limbeck.methods.fcos`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from limbeck.arguments import NonNegative, Share
from limbeck.boxes import suppressed
from limbeck.methods.declarations import LossTerms, Reads
from limbeck.methods.fcos import FCOS
from limbeck.methods.terms import Kind
from limbeck.outputs import ABSENT, Batch, Outputs
from limbeck.tasks.detection.decoding import MOST_OVERLAP
from limbeck.tasks.detection.places import assigned


def pseudo_boxes(logits: Tensor, boxes: Tensor, least: float = 0.9) -> Tensor:
    """What a teacher finds as targets of detection: boxes with a score of `least` or more.

        y = NMS({(b_l, c_l) where max_c p_lc >= least}),   c_l = argmax_c p_lc,   p = softmax(z)

    The score of a place l is max_c p_lc, with c over all classes but that of no object. A box b_l without an
    area is left out. Of boxes of one class that overlap with an IoU above 0.6, NMS keeps the one with the
    highest score.

    Args:
        logits: (B, L, C + 1), the last for no object.
        boxes: (B, L, 4) x1, y1, x2, y2 in pixels.
        least: score of a box that is kept, in [0, 1].
    Returns: (B, M, 5) float32 boxes and their classes, the highest scores first; -1 behind the last of an
        image.
    """
    scores, classes = logits.float().softmax(-1)[..., :-1].max(-1)
    found: list[Tensor] = []
    for each, which, corners in zip(scores, classes, boxes.float(), strict=True):
        sure = (each >= least) & (corners[:, 2:] > corners[:, :2]).all(-1)
        kept = suppressed(corners[sure], each[sure], which[sure], MOST_OVERLAP)
        found.append(torch.cat([corners[sure][kept], which[sure][kept, None].float()], 1))
    targets = boxes.new_zeros(len(found), max(1, *map(len, found)), 5, dtype=torch.float32)
    targets[..., 4] = ABSENT
    for place, each in enumerate(found):
        targets[place, : len(each)] = each
    return targets


class PseudoBoxes(FCOS):
    """A detector learns the boxes that its teacher finds, by the losses of `fcos`.

        L = fcos(s, y),   y = pseudo_boxes(t)

    It needs no labels, and no places that both networks have: the teacher may be any detector, of limbeck,
    torchvision or transformers. A teacher's centerness is not read.

    Args:
        least: score of a box that is learned, the probability of its class.
        gamma: exponent of the focal loss.
        alpha: weight of a place with an object in it; one without has 1 - alpha.
        box_weight: factor of the term "box".
        center_weight: factor of the term "center".
    """

    name = "pseudo_boxes"
    kind: ClassVar[Kind] = "distillation"
    reads = Reads(student=("logits", "boxes", "centerness", "places"), teacher=("logits", "boxes"))
    recipe = "fcos + pseudo_boxes"
    of_objects = True

    def __init__(
        self,
        least: Share = 0.9,
        gamma: NonNegative = 2.0,
        alpha: Share = 0.25,
        box_weight: NonNegative = 1.0,
        center_weight: NonNegative = 1.0,
    ) -> None:
        super().__init__(gamma, alpha, box_weight, center_weight)
        self.least = least

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The three terms of `fcos`."""
        assert batch.rows is not None
        boxes = teacher["boxes"]
        targets = pseudo_boxes(teacher.logits.view(*boxes.shape[:2], -1), boxes, self.least)
        classes, found = assigned(student["places"][0].float(), targets, student.logits.shape[1] - 1)
        rows = replace(batch.rows, targets=classes.flatten(), boxes=found.flatten(0, 1))
        return super().forward(student, teacher, rows.batch(batch))
