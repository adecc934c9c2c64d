"""Semantic segmentation: a class for each pixel of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs, named
from limbeck.tasks.base import Task
from limbeck.tasks.measuring import Agreement, Findings, Meter, Metric
from limbeck.tasks.rows import Rows, masked
from limbeck.tasks.sections import Section
from limbeck.tasks.segmentation.findings import PixelAgreement, PixelFindings
from limbeck.tasks.segmentation.meter import IGNORED, PixelComparison, PixelMeter
from limbeck.tasks.segmentation.resolution import nearest, pixels_of, resized
from limbeck.tasks.segmentation.sections import compared, sections, weaknesses
from limbeck.tasks.targets import as_tensor, same_size


@dataclass(frozen=True)
class Segmentation(Task):
    """Targets are (N, H, W) class ids, 255 where a pixel does not count; a split keeps them as uint8.

    A network answers (B, C, h, w). One row is one pixel that counts. With the resolution "labels" it is a
    pixel of the label, and logits and embeddings of another resolution are resized to it, bilinearly without
    aligned corners. With "outputs" it is a position of the student's logits: labels are taken there by
    nearest neighbor, and a teacher's maps are resized. What is measured is always at the labels' resolution.

    Targets (N, 0, 0) say that no pixel of any image has a class.

    Args:
        names: names of the classes, at least 2; none for data without labels.
        resolution: "labels" or "outputs".
        positions: height and width of the student's logits, where rows are at these; a `Distiller` finds out.
    """

    name = "segmentation"
    hub_tag: ClassVar[str | None] = "image-segmentation"
    one_row_per_sample: ClassVar[bool] = False
    even: ClassVar[bool] = False
    dense: ClassVar[bool] = True
    spatial: ClassVar[bool] = True
    ignored: ClassVar[int] = IGNORED
    decisions: ClassVar[str] = "pixels"
    distance: ClassVar[str] = "mean KL(teacher, student) of a pixel in nats"
    findings = PixelFindings
    agreement = PixelAgreement
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("miou", "mIoU", 100, "%", hub="mean_iou"),
        Metric("pixel_accuracy", "pixel accuracy", 100, "%"),
        Metric("mean_accuracy", "mean class accuracy", 100, "%"),
    )

    names: tuple[str, ...]
    resolution: Literal["labels", "outputs"] = "labels"
    positions: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if len(self.names) == 1 or len(self.names) > IGNORED:
            raise LimbeckError(f"there should be 2 to {IGNORED} classes of pixels, not {len(self.names)}")
        if self.resolution not in ("labels", "outputs"):
            raise LimbeckError(
                f'resolution should be "labels" or "outputs", at which pixels are compared, not '
                f"{self.resolution!r}"
            )

    @classmethod
    def of(cls, names: Sequence[str] | None, width: int | None, targets: Tensor) -> Segmentation:
        """The task with the names given, or with numbers for as many classes as there are.

        Raises:
            LimbeckError: if names and number differ, and if neither is given and no pixel has a class.
        """
        if names is not None:
            if width not in (None, len(names)):
                raise LimbeckError(f"there are {len(names)} names of classes for {width} classes")
            return cls(tuple(names))
        known = targets[targets != IGNORED]
        if width is None and not len(known):
            raise LimbeckError(
                "no pixel of the data has a class, so their number is unknown; give names=[...], or mend the "
                "masks"
            )
        return cls(tuple(map(str, range(int(known.max()) + 1 if width is None else width))))

    @classmethod
    def of_width(cls, width: int) -> Segmentation:
        """The task of so many classes, with numbers for names."""
        if width < 2:
            raise LimbeckError("the student has one output for a pixel, and a choice of classes needs 2")
        return cls(tuple(map(str, range(width))))

    @property
    def summary(self) -> str:
        """For example "11 classes"."""
        return f"{self.width} classes"

    def fitted_to(self, student: Outputs) -> Segmentation:
        """With the resolution "outputs", the task whose rows are at the positions of these outputs."""
        dense = _dense(student)
        if self.resolution == "labels" or dense is None:
            return self
        return replace(self, positions=(dense.shape[2], dense.shape[3]))

    # Targets

    @classmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        """(N, H, W) uint8, where -100 has become 255, too; (N, 0, 0) for None."""
        if targets is None:
            return torch.empty(size, 0, 0, dtype=torch.uint8)
        ids = as_tensor(targets, which, "maps of class ids, integers (N, H, W)")
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool or ids.ndim != 3:
            raise LimbeckError(
                f"the {which} targets should be maps of class ids, integers (N, H, W) with {IGNORED} where a "
                f"pixel does not count, not {ids.dtype} of shape {tuple(ids.shape)}"
            )
        same_size(ids, size, which)
        if ids.dtype == torch.uint8:
            return ids
        ids = ids.where(ids != UNLABELED, IGNORED)
        wrong = (ids < 0) | (ids > IGNORED)
        if wrong.any():
            raise _out_of_range(ids, wrong, which, "")
        return ids.to(torch.uint8)

    def check(self, targets: Tensor, which: str) -> None:
        """Refuses a target that is neither a class id nor 255."""
        wrong = ((targets < 0) | (targets >= self.width)) & (targets != IGNORED)
        if wrong.any():
            raise _out_of_range(targets, wrong, which, f"with {self.summary} ", self.width - 1)

    def check_batch(self, targets: Tensor, size: int) -> None:
        """Refuses anything but (B, H, W) int64."""
        if targets.dtype != torch.int64 or targets.ndim != 3 or len(targets) != size:
            raise LimbeckError(
                f"the targets of a batch of {size} must be int64 of shape ({size}, height, width), "
                f"not {str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}"
            )

    def check_outputs(self, logits: Tensor, role: str) -> None:
        """Refuses anything but (B, C, h, w) with C the number of classes."""
        if logits.ndim != 4 or logits.shape[1] != self.width:
            raise LimbeckError(
                f"the logits of the {role} have the shape {tuple(logits.shape)}, and segmentation with "
                f"{self.summary} takes maps (B, {self.width}, height, width)"
            )

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        """Which images have a pixel with a class."""
        return (targets != IGNORED).flatten(1).any(1)

    def counts(self, targets: Tensor) -> tuple[int, ...]:
        """Pixels of each class."""
        return tuple(_occurrences(targets)[: self.width].tolist())

    # Rows

    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        """The pixels that count, those of an image one after the other."""
        size = self._size(batch)
        if size is None:
            dense = _dense(outputs)
            if dense is None:
                raise LimbeckError("the inputs are no images (B, C, H, W), so there are no pixels to label")
            size = (dense.shape[2], dense.shape[3])
        targets = None if batch.targets is None else nearest(batch.targets, size)
        device = next(iter(named(batch.inputs).values())).device
        valid = torch.ones(len(batch), *size, dtype=torch.bool, device=device)
        rows = masked(valid if targets is None else targets != IGNORED, targets)

        def of(maps: Tensor) -> Tensor:
            return rows.logits(resized(maps, size))

        return replace(rows, logits=of, embedding=of)

    def count(self, batch: Batch) -> Tensor | int:
        """How many pixels those are."""
        size = self._size(batch)
        if batch.targets is not None:
            assert size is not None, "labels have a resolution"
            return (nearest(batch.targets, size) != IGNORED).sum()
        return len(batch) if size is None else len(batch) * size[0] * size[1]

    def _size(self, batch: Batch) -> tuple[int, int] | None:
        """The resolution of the rows of a batch; None where only the outputs tell."""
        if self.positions is not None:
            return self.positions
        if batch.targets is None:
            return pixels_of(batch)
        return batch.targets.shape[1], batch.targets.shape[2]

    # Measuring

    def meter(self, *, quick: bool = False) -> PixelMeter:
        """Counts pixels by class and answer; only the quick one leaves out where labels are hard."""
        return PixelMeter(self.width, quick=quick)

    def comparison(self) -> PixelComparison:
        """Agreement and divergence over the pixels that count."""
        return PixelComparison(self.names)

    def measure(self, meter: Meter, validation: Meter | None) -> PixelFindings:
        """By class and over all; nothing is chosen on the validation split."""
        assert isinstance(meter, PixelMeter)
        return meter.findings()

    def at_chance(self, metrics: Mapping[str, float], targets: Tensor) -> bool:
        """Whether the mIoU is at most a tenth above the best that one class for every pixel reaches."""
        pixels = self.counts(targets)
        occurring = sum(map(bool, pixels))
        return occurring > 1 and metrics["miou"] <= 1.1 * max(pixels) / sum(pixels) / occurring

    def weaknesses(self, found: Findings) -> tuple[str, ...]:
        """The worst class, and what it is taken for."""
        assert isinstance(found, PixelFindings)
        return tuple(weaknesses(self.names, found))

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        """Figures by class, and the agreement with the teacher."""
        return sections(self.names, found, agreement)

    def compared(self, found: Mapping[str, Sequence[Findings]]) -> Sequence[Section]:
        """IoU by class, means over the seeds."""
        return compared(self.names, found)

    def recipe(self, *, teacher: bool) -> str:
        """Labels and teacher in equal parts; without a teacher the cross-entropy."""
        return "0.5*ce + 0.5*kd(temperature=2)" if teacher else "ce"


def _dense(outputs: Outputs) -> Tensor | None:
    """The maps that have a position for each decision; None where they are not read."""
    return next((outputs[name] for name in ("logits", "embedding") if name in outputs), None)


def _occurrences(targets: Tensor) -> Tensor:
    """(256,) how often each id occurs, counted image by image."""
    counts = torch.zeros(IGNORED + 1, dtype=torch.int64)
    for each in targets:
        counts += each.flatten().bincount(minlength=IGNORED + 1).cpu()
    return counts


def _out_of_range(targets: Tensor, wrong: Tensor, which: str, width: str, most: int = 254) -> LimbeckError:
    image, row, column = wrong.nonzero()[0].tolist()
    return LimbeckError(
        f"the {which} target {int(targets[image, row, column])} of image {image}, at row {row} and column "
        f"{column}, is out of range: {width}it should be 0 to {most}, or {IGNORED} where a pixel does not "
        "count"
    )
