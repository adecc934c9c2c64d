"""Measures networks that label pixels: one alone, and a student beside its teacher."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import Batch, Outputs
from limbeck.tasks.measuring import Comparison, Meter
from limbeck.tasks.parts.worst import Worst
from limbeck.tasks.segmentation.findings import HardPixels, PixelAgreement, PixelExample, PixelFindings
from limbeck.tasks.segmentation.regions import near_boundaries, small_regions
from limbeck.tasks.segmentation.resolution import nearest, pixels_of, resized

IGNORED = 255
"""The class id of a pixel that does not count."""

LARGEST = 128
"""Pixels that the longer side of an example's map has at most."""


def most_likely(logits: Tensor) -> Tensor:
    """(H, W) the class with the highest of logits (C, H, W); `argmax` takes four times as long as `max`."""
    return logits.max(0).indices


class ConfusionMatrix:
    """Counts pixels by class and answer, in constant memory.

    Args:
        classes: C, how many classes there are.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts = torch.zeros(classes, classes, dtype=torch.int64)

    def add(self, truth: Tensor, answers: Tensor) -> None:
        """Takes in class ids (P,) of pixels that count, and the answers (P,) to them."""
        cells = (truth.long() * self.classes + answers).bincount(minlength=self.classes**2)
        self.counts += cells.reshape(self.classes, self.classes).cpu()

    def findings(self, images: int) -> PixelFindings:
        """All there is to say."""
        return PixelFindings(matrix=tuple(map(tuple, self.counts.tolist())), images=images)


class HardMeter:
    """Counts pixels where labels are hard.

    Args:
        classes: C, how many classes there are.
    """

    def __init__(self, classes: int) -> None:
        self._confusion = ConfusionMatrix(classes)
        self._regions = self._pixels = self._right = 0

    def add(self, target: Tensor, answers: Tensor) -> None:
        """Takes in the class ids (H, W) of an image and the answers (H, W)."""
        near = near_boundaries(target, IGNORED)
        self._confusion.add(target[near], answers[near])
        small, regions = small_regions(target, IGNORED)
        self._regions += regions
        self._pixels += int(small.sum())
        self._right += int((small & (answers == target)).sum())

    def findings(self) -> HardPixels:
        """All there is to say."""
        near = self._confusion.findings(0)
        return HardPixels(
            boundary_pixels=sum(near.pixels),
            boundary_iou=near.iou,
            small_regions=self._regions,
            small_pixels=self._pixels,
            small_right=self._right,
        )


class PixelMeter(Meter):
    """Counts pixels at the resolution of the labels, to which logits are resized; all figures are exact.

    Args:
        classes: C, how many classes there are.
        quick: measure the metrics only.
    """

    def __init__(self, classes: int, *, quick: bool = False) -> None:
        self._confusion = ConfusionMatrix(classes)
        self._hard = None if quick else HardMeter(classes)
        self._images = self._seen = 0

    def only_metrics(self) -> PixelMeter:
        """The meter, which does not look for boundaries and regions then."""
        self._hard = None
        return self

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in logits (B, C, h, w) and targets (B, H, W)."""
        self._seen += len(batch)
        if batch.targets is None:
            return
        for target, logits in zip(batch.targets, outputs.logits, strict=True):
            valid = target != IGNORED
            answers = most_likely(resized(logits[None], target.shape)[0])
            self._confusion.add(target[valid], answers[valid])
            if self._hard is not None:
                self._hard.add(target, answers)
            self._images += int(valid.any())

    def compute(self) -> dict[str, float]:
        """`miou`, `pixel_accuracy` and `mean_accuracy`."""
        return self.findings().metrics

    def findings(self) -> PixelFindings:
        """All there is to say."""
        if not self._images:
            raise LimbeckError(
                f"no pixel of the {self._seen} images has a class, and networks are measured by those that do"
            )
        found = self._confusion.findings(self._images)
        return found if self._hard is None else found.model_copy(update={"hard": self._hard.findings()})


class PixelComparison(Comparison):
    """Measures how a student agrees with its teacher on the pixels that count, or on all without labels.

    Args:
        names: names of the classes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._confusion = ConfusionMatrix(len(names))  # a row for each class of the teacher's answers
        self._worst = Worst()
        self._images = 0
        self._distance = 0.0

    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        """Takes in logits (B, C, h, w) of both, and targets (B, H, W) if there are any."""
        worse: list[int] = []
        maps: list[tuple[Tensor, Tensor, Tensor]] = []
        for at, (ours, theirs) in enumerate(_pairs(student.logits, teacher.logits, batch)):
            said, right = most_likely(ours), most_likely(theirs)
            target = None if batch.targets is None else batch.targets[at]
            valid = torch.ones_like(said, dtype=torch.bool) if target is None else target != IGNORED
            self._confusion.add(right[valid], said[valid])
            p, q = (logits[:, valid].double().log_softmax(0) for logits in (theirs, ours))
            self._distance += float(F.kl_div(q, p, log_target=True, reduction="sum"))
            if target is not None:
                worse.append(int(_lost(target, said, right).sum()))
                maps.append((target, said, right))
        first, badness = self._images, torch.tensor(worse, dtype=torch.float64)
        self._worst.add(badness, badness > 0, lambda place: self._example(first + place, *maps[place]))
        self._images += len(batch)

    def _example(self, index: int, target: Tensor, said: Tensor, right: Tensor) -> PixelExample:
        """What an image shows, by the class that the student loses most pixels of."""
        lost = _lost(target, said, right)
        most = target[lost].bincount().argmax()
        answer = said[lost & (target == most)].bincount().argmax()
        name = self._names[int(most)]
        share = f"{100 * int(lost.sum()) / int((target != IGNORED).sum()):.1f} %"
        factor = max(1.0, max(target.shape) / LARGEST)
        size = max(1, round(target.shape[0] / factor)), max(1, round(target.shape[1] / factor))
        small = [nearest(each[None], size)[0].to(torch.uint8).cpu() for each in (target, said, right)]
        label, student, teacher = (
            base64.b64encode(zlib.compress(each.numpy().tobytes(), 9)).decode() for each in small
        )
        return PixelExample(
            index=index,
            target=name,
            student=f"{self._names[int(answer)]}; it loses {share} of the pixels",
            teacher=name,
            size=size,
            maps=(label, student, teacher),
        )

    def compute(self) -> PixelAgreement:
        """The share of equal answers, the mean divergence, and the images that the student loses most on."""
        found = self._confusion.findings(self._images)
        if not sum(found.pixels):
            return PixelAgreement(agreement=None, distance=0.0, miou=0.0)
        return PixelAgreement(
            agreement=found.metrics["pixel_accuracy"],
            distance=self._distance / sum(found.pixels),
            examples=tuple(each for each in self._worst.examples if isinstance(each, PixelExample)),
            miou=found.metrics["miou"],
        )


def _pairs(student: Tensor, teacher: Tensor, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """The logits (C, H, W) of both networks, image by image, at the resolution of labels or images."""
    size = pixels_of(batch) or student.shape[-2:] if batch.targets is None else batch.targets.shape[-2:]
    for ours, theirs in zip(student, teacher, strict=True):
        yield resized(ours[None], size)[0], resized(theirs[None], size)[0]


def _lost(target: Tensor, said: Tensor, right: Tensor) -> Tensor:
    """The pixels that the teacher gets right and the student wrong."""
    return (right == target) & (said != target)
