"""Object detection: a box and a class for each object in an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import ABSENT, Batch, Outputs
from limbeck.tasks.base import Task
from limbeck.tasks.detection.findings import BoxAgreement, BoxFindings
from limbeck.tasks.detection.meter import BoxComparison, BoxMeter
from limbeck.tasks.detection.places import assigned
from limbeck.tasks.detection.sections import compared, sections, weaknesses
from limbeck.tasks.measuring import Agreement, Findings, Meter, Metric
from limbeck.tasks.rows import Rows
from limbeck.tasks.sections import Section
from limbeck.tasks.targets import as_tensor, same_size

BACKGROUND = "background"
"""What the last output is called, that of a place without an object."""


@dataclass(frozen=True)
class Detection(Task):
    """Targets are (N, M, 5) float32 boxes: x1, y1, x2, y2 in pixels, and a class id; -1 where there is none.

    NaN says that the boxes of an image are not known; an image without boxes has only rows with the class -1.
    A network answers at L places of an image with a dict: `logits` (B, L, C + 1), of the classes and last of
    no object; `boxes` (B, L, 4) in pixels; `centerness` (B, L), a logit; and `places` (B, L, 3), x, y and
    stride in pixels of each. One row is one place; its class is that of the box that it should find, see
    `limbeck.tasks.detection.places`. A network that teaches or is measured may leave out centerness and
    places: each of its L is then an object that it has found, or none.

    Args:
        names: names of the classes, at least 1, without the background; none for data without labels.
    """

    name = "detection"
    hub_tag: ClassVar[str | None] = "object-detection"
    one_row_per_sample: ClassVar[bool] = False
    dense: ClassVar[bool] = True
    spatial: ClassVar[bool] = True
    boxed: ClassVar[bool] = True
    ignored: ClassVar[int] = ABSENT
    fields: ClassVar[tuple[str, ...]] = ("boxes", "centerness", "places")
    optional: ClassVar[tuple[str, ...]] = ("centerness", "places")
    decisions: ClassVar[str] = "objects"
    distance: ClassVar[str] = "mean KL(teacher, student) of the classes at a place in nats"
    findings = BoxFindings
    agreement = BoxAgreement
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("map", "mAP", 100, "%"),
        Metric("map50", "AP50", 100, "%"),
        Metric("map75", "AP75", 100, "%"),
        Metric("recall", "mean recall", 100, "%"),
    )

    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str] | None, width: int | None, targets: Tensor) -> Detection:
        """The task with the names given, or with numbers for as many classes as there are.

        Raises:
            LimbeckError: if names and number differ, and if neither is given and no image has a box.
        """
        if names is not None:
            if width not in (None, len(names)):
                raise LimbeckError(f"there are {len(names)} names of classes for {width} classes")
            return cls(tuple(names))
        classes = targets[..., 4]
        known = classes[classes >= 0]
        if width is None and not len(known):
            raise LimbeckError(
                "no image of the training data has a box, so the number of classes is unknown; give "
                "names=[...]"
            )
        return cls(tuple(map(str, range(int(known.max()) + 1 if width is None else width))))

    @classmethod
    def of_width(cls, width: int) -> Detection:
        """The task of a network with so many outputs, of which one is for no object."""
        if width < 2:
            raise LimbeckError("the student has one output for a place, and a class and no object are two")
        return cls(tuple(map(str, range(width - 1))))

    @staticmethod
    def width_of(logits: Tensor) -> int:
        """How many outputs raw logits have, along the last axis."""
        return logits.shape[-1]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the classes, and "background"."""
        return (*self.names, BACKGROUND)

    @property
    def summary(self) -> str:
        """For example "3 classes and the background"."""
        return f"{len(self.names)} classes and the background"

    # Targets

    @classmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        """(N, M, 5) float32 with M at least 1; NaN for None."""
        if targets is None:
            return torch.full((size, 1, 5), torch.nan)
        wanted = "boxes (N, M, 5) of x1, y1, x2, y2 in pixels and a class id, -1 where there is none"
        boxes = as_tensor(targets, which, wanted)
        if boxes.ndim != 3 or boxes.shape[2] != 5 or boxes.is_complex() or boxes.dtype == torch.bool:
            raise LimbeckError(
                f"the {which} targets should be {wanted}, not {boxes.dtype} of shape {tuple(boxes.shape)}"
            )
        same_size(boxes, size, which)
        boxes = boxes.float()
        none = boxes.new_tensor([0.0, 0.0, 0.0, 0.0, ABSENT])
        return boxes if boxes.shape[1] else none.expand(size, 1, 5).clone()

    def check(self, targets: Tensor, which: str) -> None:
        """Refuses classes that there are not, and boxes without an area."""
        classes, known = targets[..., 4], ~targets.isnan().all(-1)
        wrong = known & ~((classes >= ABSENT) & (classes < len(self.names)) & (classes == classes.round()))
        if wrong.any():
            image, box = wrong.nonzero()[0].tolist()
            raise LimbeckError(
                f"the {which} target of image {image} has the class {float(classes[image, box]):g} for box "
                f"{box}; with {len(self.names)} classes it should be 0 to {len(self.names) - 1}, or {ABSENT} "
                "where there is no box"
            )
        flat = known & (classes >= 0) & ~(targets[..., 2:4] > targets[..., :2]).all(-1)
        if flat.any():
            image, box = flat.nonzero()[0].tolist()
            corners = ", ".join(f"{value:g}" for value in targets[image, box, :4].tolist())
            raise LimbeckError(
                f"the {which} target of image {image} has box {box} at ({corners}), which has no area; boxes "
                "are x1, y1, x2, y2 with x1 < x2 and y1 < y2"
            )

    def check_batch(self, targets: Tensor, size: int) -> None:
        """Refuses anything but (B, M, 5) float32."""
        if targets.dtype != torch.float32 or targets.ndim != 3 or targets.shape[::2] != (size, 5):
            raise LimbeckError(
                f"the targets of a batch of {size} must be boxes, float32 of shape ({size}, boxes, 5), "
                f"not {str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}"
            )

    def check_outputs(self, logits: Tensor, role: str) -> None:
        """Refuses anything but (B, L, C + 1)."""
        if logits.ndim != 3 or logits.shape[2] != self.width:
            raise LimbeckError(
                f"the logits of the {role} have the shape {tuple(logits.shape)}, and detection with "
                f"{self.summary} takes those of each place, (B, places, {self.width})"
            )

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        """Of which images the boxes are known."""
        return ~targets[..., 4].isnan().any(1)

    def counts(self, targets: Tensor) -> tuple[int, ...]:
        """Boxes of each class."""
        classes = targets[..., 4]
        return tuple(classes[classes >= 0].long().bincount(minlength=len(self.names)).tolist())

    # Rows

    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        """The places of each image, one after the other."""
        dense = next((outputs[name] for name in ("logits", "places") if name in outputs), None)
        if dense is None:  # of a network that is read for its stages alone
            return Rows(len(batch), None)
        count = dense.shape[1]
        sample = torch.arange(len(batch), device=dense.device).repeat_interleave(count)
        if batch.targets is None or "places" not in outputs:
            return Rows(len(sample), None, sample, logits=_flat, embedding=_flat)
        classes, boxes = assigned(outputs["places"][0].float(), batch.targets, len(self.names))
        return Rows(
            len(sample), classes.flatten(), sample, logits=_flat, embedding=_flat, boxes=boxes.flatten(0, 1)
        )

    # Measuring

    def meter(self, *, quick: bool = False) -> BoxMeter:
        """Keeps the objects of each image, quick or not: the first metric needs them all."""
        return BoxMeter(len(self.names))

    def comparison(self) -> BoxComparison:
        """The objects that both networks find, and the divergence of their classes."""
        return BoxComparison(self.names)

    def measure(self, meter: Meter, validation: Meter | None) -> BoxFindings:
        """By class, by size and over all; nothing is chosen on the validation split."""
        assert isinstance(meter, BoxMeter)
        return meter.findings()

    def at_chance(self, metrics: Mapping[str, float], targets: Tensor) -> bool:
        """Whether not even a hundredth of the precision at an IoU of 0.5 is reached."""
        return metrics["map50"] < 0.01

    def weaknesses(self, found: Findings) -> tuple[str, ...]:
        """The worst class, and the worst size."""
        assert isinstance(found, BoxFindings)
        return tuple(weaknesses(self.names, found))

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        """Figures by class and size, and the agreement with the teacher."""
        return sections(self.names, found, agreement)

    def compared(self, found: Mapping[str, Sequence[Findings]]) -> Sequence[Section]:
        """AP by class, means over the seeds."""
        return compared(self.names, found)

    def recipe(self, *, teacher: bool) -> str:
        """The detector's own losses, and with a teacher its classes and boxes too."""
        return "fcos + kd(temperature=1) + giou" if teacher else "fcos"


def _flat(tensor: Tensor) -> Tensor:
    """(B, L, ...) as rows (B * L, ...)."""
    return tensor.flatten(0, 1)
