"""From what a detector answers at each place to the objects that it finds."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from limbeck.boxes import suppressed
from limbeck.outputs import Outputs

LEAST_SCORE = 0.05
"""Score of an object that is kept."""

CANDIDATES = 1000
"""Objects of an image that are compared with each other, those with the highest scores."""

MOST_OVERLAP = 0.6
"""IoU of two objects of one class that are both kept."""

OBJECTS = 100
"""Objects of an image, those with the highest scores; as COCO's figures have it."""


class Objects(NamedTuple):
    """What is found in one image, the highest score first.

    Attributes:
        boxes: (K, 4) x1, y1, x2, y2 in pixels.
        scores: (K,) in [0, 1].
        classes: (K,) int64.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor


def objects(outputs: Outputs, least_score: float = LEAST_SCORE) -> list[Objects]:
    """The objects in each image, by FCOS's rule: greedy suppression of boxes that overlap, class by class.

    A score is the root of the probability of the class times that of the centerness. Without a centerness,
    each place is one object, of its most probable class and with that probability for its score, and none is
    suppressed.

    Args:
        outputs: `logits` (B, L, C + 1), the last for no object, `boxes` (B, L, 4) and maybe `centerness`
            (B, L).
        least_score: score of an object that is kept.
    """
    probabilities = outputs.logits.float().softmax(-1)[..., :-1]
    if "centerness" not in outputs:
        found = zip(*probabilities.max(-1), outputs["boxes"].float(), strict=True)
        return [_best(*each, least_score) for each in found]
    scores = (probabilities * outputs["centerness"].float().sigmoid()[..., None]).sqrt()
    return [_of_image(*each, least_score) for each in zip(scores, outputs["boxes"].float(), strict=True)]


def _of_image(scores: Tensor, boxes: Tensor, least_score: float) -> Objects:
    """The objects of scores (L, C) and boxes (L, 4)."""
    places, classes = (scores >= least_score).nonzero().unbind(1)
    found = scores[places, classes]
    best = found.argsort(descending=True, stable=True)[:CANDIDATES]
    found, shown, classes = found[best], boxes[places[best]], classes[best]
    kept = suppressed(shown, found, classes, MOST_OVERLAP, OBJECTS)
    return Objects(shown[kept], found[kept], classes[kept])


def _best(scores: Tensor, classes: Tensor, boxes: Tensor, least_score: float) -> Objects:
    """The objects of scores (L,), classes (L,) and boxes (L, 4), one for each place."""
    best = scores.argsort(descending=True, stable=True)[:OBJECTS]
    best = best[scores[best] >= least_score]
    return Objects(boxes[best], scores[best], classes[best])


def labels(targets: Tensor) -> list[tuple[Tensor, Tensor] | None]:
    """Boxes (K, 4) and classes (K,) int64 of each image of targets (B, M, 5); None where unknown."""
    found: list[tuple[Tensor, Tensor] | None] = []
    for each in targets:
        there = each[each[:, 4] >= 0]
        found.append(None if bool(each[:, 4].isnan().any()) else (there[:, :4], there[:, 4].long()))
    return found
