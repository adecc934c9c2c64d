"""Measures networks that find objects: one alone, and a student beside its teacher."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.boxes import iou
from limbeck.errors import LimbeckError
from limbeck.outputs import Batch, Outputs
from limbeck.tasks.detection import coco
from limbeck.tasks.detection.decoding import Objects, labels, objects
from limbeck.tasks.detection.findings import Box, BoxAgreement, BoxExample, BoxFindings
from limbeck.tasks.measuring import Comparison, Meter
from limbeck.tasks.parts.worst import Worst
from limbeck.tasks.segmentation.resolution import pixels_of

SHOWN = 0.3
"""Score from which an object counts where networks are compared and drawn."""

SAME = 0.5
"""IoU from which two boxes are of one object."""


class BoxMeter(Meter):
    """Keeps up to 100 objects of each image, and its boxes; all figures are exact.

    Args:
        classes: C, how many classes there are.
    Raises:
        LimbeckError: without faster-coco-eval.
    """

    def __init__(self, classes: int) -> None:
        coco.package()
        self._classes = classes
        self._labels: list[tuple[Tensor, Tensor]] = []
        self._found: list[Objects] = []
        self._seen = 0

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in the outputs of a network, and targets (B, M, 5)."""
        self._seen += len(batch)
        if batch.targets is None:
            return
        for label, found in zip(labels(batch.targets.cpu()), objects(outputs), strict=True):
            if label is not None:
                self._labels.append(label)
                self._found.append(Objects(*(each.cpu() for each in found)))

    def compute(self) -> dict[str, float]:
        """`map`, `map50`, `map75` and `recall`."""
        return self.findings().metrics

    def findings(self) -> BoxFindings:
        """All there is to say."""
        if not any(len(ids) for _, ids in self._labels):
            raise LimbeckError(
                f"none of the {self._seen} images has a box, and networks are measured by those that have"
            )
        return coco.figures(self._classes, self._labels, self._found)


class BoxComparison(Comparison):
    """Measures how a student agrees with its teacher, by the objects that both find.

    Args:
        names: names of the classes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._worst = Worst()
        self._images = self._found = self._shared = self._places = 0
        self._distance = 0.0

    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        """Takes in the outputs of both, and targets (B, M, 5) if there are any."""
        ours, theirs = objects(student, SHOWN), objects(teacher, SHOWN)
        known = [None] * len(batch) if batch.targets is None else labels(batch.targets)
        missed: list[list[int]] = []
        for label, mine, other in zip(known, ours, theirs, strict=True):
            self._found += len(mine.boxes) + len(other.boxes)
            self._shared += 2 * int(found((other.boxes, other.classes), mine).sum())
            if label is None:
                missed.append([])
            else:
                lost = found(label, other) & ~found(label, mine)
                missed.append([int(each) for each in lost.nonzero().flatten()])
        if "centerness" in teacher and student.logits.shape == teacher.logits.shape:
            p, q = (each.logits.double().log_softmax(-1) for each in (teacher, student))
            self._distance += float(F.kl_div(q, p, log_target=True, reduction="sum"))
            self._places += p.shape[0] * p.shape[1]
        first, badness = self._images, torch.tensor([len(each) for each in missed], dtype=torch.float64)
        size = pixels_of(batch) or (1, 1)

        def example(place: int) -> BoxExample:
            label = known[place]
            assert label is not None, "only boxes of a label are missed"
            return self._example(first + place, size, label, missed[place], ours[place], theirs[place])

        self._worst.add(badness, badness > 0, example)
        self._images += len(batch)

    def _example(
        self,
        index: int,
        size: tuple[int, int],
        label: tuple[Tensor, Tensor],
        missed: Sequence[int],
        student: Objects,
        teacher: Objects,
    ) -> BoxExample:
        counts = label[1][list(missed)].bincount(minlength=len(self._names)).tolist()
        lost = ", ".join(f"{count} {self._names[at]}" for at, count in enumerate(counts) if count)
        return BoxExample(
            index=index,
            target=f"{len(label[1])} objects",
            student=f"{len(student.boxes)} objects; it misses {lost}",
            teacher=f"{len(teacher.boxes)} objects",
            size=size,
            boxes=(
                _plain(*label),
                _plain(student.boxes, student.classes),
                _plain(teacher.boxes, teacher.classes),
            ),
        )

    def compute(self) -> BoxAgreement:
        """The share of objects that both have, the mean divergence, and the images with most missed."""
        return BoxAgreement(
            agreement=self._shared / self._found if self._found else None,
            distance=self._distance / self._places if self._places else math.nan,
            examples=tuple(each for each in self._worst.examples if isinstance(each, BoxExample)),
        )


def found(label: tuple[Tensor, Tensor], objects: Objects) -> Tensor:
    """(K,) bool, which of some boxes (K, 4) with classes (K,) are among the objects, each of which is one.

    In the order of their scores, objects take the box of their class that they overlap most, with an IoU of
    `SAME` or more, of those that are left.
    """
    boxes, ids = label
    alike = iou(objects.boxes, boxes.to(objects.boxes)) * (objects.classes[:, None] == ids[None])
    taken = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for each in alike if len(boxes) else ():
        best = each.where(~taken, 0).argmax()
        taken[best] |= each[best] >= SAME
    return taken


def _plain(boxes: Tensor, classes: Tensor) -> tuple[Box, ...]:
    rows = zip(boxes.tolist(), classes.tolist(), strict=True)
    return tuple((round(a, 1), round(b, 1), round(c, 1), round(d, 1), each) for (a, b, c, d), each in rows)
