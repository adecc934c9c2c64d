"""Restoration of images, such as super-resolution: an image for each image, perhaps a larger one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs, named
from limbeck.tasks.base import Task
from limbeck.tasks.measuring import Agreement, Findings, Meter, Metric
from limbeck.tasks.restoration.findings import RestorationAgreement, RestorationFindings
from limbeck.tasks.restoration.meter import IGNORED, RestorationComparison, RestorationMeter
from limbeck.tasks.restoration.quality import PEAK
from limbeck.tasks.restoration.sections import sections, weaknesses
from limbeck.tasks.rows import Rows, masked
from limbeck.tasks.sections import Section
from limbeck.tasks.targets import as_tensor, same_size

NAMES = {1: ("gray",), 3: ("red", "green", "blue")}
"""What the channels of an image are called, by their number."""


@dataclass(frozen=True)
class Restoration(Task):
    """Targets are images (N, C, H, W) of levels from 0 to 255, -1 where a pixel does not count, as int16.

    A network answers (B, C, H, W) in [0, 1], a whole multiple of the size of its input: 1 where images keep
    their size, as in the removal of noise. One row is one pixel that counts, with a value for each channel;
    losses see values and targets in [0, 1]. Embeddings of another resolution are resized to that of the
    answers, bilinearly without aligned corners.

    Targets (N, 0, 0, 0) say that no image has one.

    Args:
        names: names of the channels, one or three.
    """

    name = "restoration"
    hub_tag: ClassVar[str | None] = "image-to-image"
    scores: ClassVar[Literal["classes", "values", "vectors"]] = "values"
    one_row_per_sample: ClassVar[bool] = False
    even: ClassVar[bool] = False
    dense: ClassVar[bool] = True
    spatial: ClassVar[bool] = True
    restores: ClassVar[bool] = True
    ignored: ClassVar[int] = IGNORED
    distance: ClassVar[str] = "mean absolute difference between student and teacher, in levels of 255"
    findings = RestorationFindings
    agreement = RestorationAgreement
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("psnr", "PSNR", 1, "dB"), Metric("ssim", "SSIM"))

    names: tuple[str, ...]

    @classmethod
    def of(cls, names: Sequence[str] | None, width: int | None, targets: Tensor) -> Restoration:
        """The task of images with as many channels as the targets have.

        Raises:
            LimbeckError: if names, width and channels differ, none of them is known, or there are other
                numbers of channels than 1 and 3.
        """
        known = {number for number in (len(names or ()), width or 0, targets.shape[1]) if number}
        if len(known) != 1:
            raise LimbeckError(
                "no training image has a target, so the number of channels is unknown; give names=[...]"
                if not known
                else f"there are {targets.shape[1]} channels in the targets, and {len(names or ())} names"
            )
        (channels,) = known
        if channels not in NAMES:
            raise LimbeckError(f"images have 1 or 3 channels, and the targets have {channels}")
        return cls(tuple(names) if names else NAMES[channels])

    @classmethod
    def of_width(cls, width: int) -> Restoration:
        """The task of images with so many channels; those that are measured have 1 or 3."""
        return cls(NAMES.get(width, tuple(map(str, range(width)))))

    @property
    def summary(self) -> str:
        """For example "RGB images"."""
        return "gray images" if self.width == 1 else "RGB images"

    # Targets

    @classmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        """(N, C, H, W) int16, where -100 has become -1, too; (N, 0, 0, 0) for None."""
        if targets is None:
            return torch.empty(size, 0, 0, 0, dtype=torch.int16)
        what = (
            f"images of levels from 0 to {PEAK:.0f}, integers (N, C, H, W), with {IGNORED} where a pixel "
            "does not count"
        )
        levels = as_tensor(targets, which, what)
        if (
            levels.is_floating_point()
            or levels.is_complex()
            or levels.dtype == torch.bool
            or levels.ndim != 4
        ):
            raise LimbeckError(
                f"the {which} targets should be {what}, not {levels.dtype} of shape {tuple(levels.shape)}"
            )
        same_size(levels, size, which)
        return levels.where(levels != UNLABELED, IGNORED).to(torch.int16)

    def check(self, targets: Tensor, which: str) -> None:
        """Refuses another number of channels, and a level that is none."""
        if targets.shape[1] not in (0, self.width):
            raise LimbeckError(f"the {which} targets have {targets.shape[1]} channels, not {self.width}")
        wrong = (targets < IGNORED) | (targets > PEAK)
        if wrong.any():
            image, channel, row, column = wrong.nonzero()[0].tolist()
            raise LimbeckError(
                f"the {which} target of image {image} holds {int(targets[image, channel, row, column])} at "
                f"row {row} and column {column}; levels should be 0 to {PEAK:.0f}, or {IGNORED} where a "
                "pixel does not count"
            )

    def check_batch(self, targets: Tensor, size: int) -> None:
        """Refuses anything but (B, C, H, W) int64."""
        if targets.dtype != torch.int64 or targets.ndim != 4 or len(targets) != size:
            raise LimbeckError(
                f"the targets of a batch of {size} must be int64 of shape ({size}, {self.width}, height, "
                f"width), not {str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}"
            )

    def check_outputs(self, logits: Tensor, role: str) -> None:
        """Refuses anything but (B, C, H, W) with C the number of channels."""
        if logits.ndim != 4 or logits.shape[1] != self.width:
            raise LimbeckError(
                f"the outputs of the {role} have the shape {tuple(logits.shape)}, and restoration of "
                f"{self.summary} takes (B, {self.width}, height, width)"
            )

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        """Which images have a target."""
        return (targets != IGNORED).flatten(1).any(1)

    # Rows

    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        """The pixels that count, those of an image one after the other.

        Raises:
            LimbeckError: if outputs and targets differ in size.
        """
        maps = next((outputs[name] for name in ("logits", "embedding") if name in outputs), None)
        targets = batch.targets
        if targets is None:
            shown = next(iter(named(batch.inputs).values())) if maps is None else maps
            size, valid = shown.shape[-2:], shown.new_ones(len(batch), *shown.shape[-2:], dtype=torch.bool)
        else:
            size, valid = targets.shape[-2:], targets[:, 0] != IGNORED
        rows = masked(valid, None)

        def answers(maps: Tensor) -> Tensor:
            if maps.shape[-2:] != size:
                raise LimbeckError(
                    f"an image of {_pixels(maps.shape[-2:])} is the answer and one of {_pixels(size)} the "
                    "target; network and data should enlarge by the same factor, scale=..."
                )
            return rows.logits(maps)

        def embedding(maps: Tensor) -> Tensor:
            if maps.shape[-2:] != size:
                maps = F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
            return rows.logits(maps)

        wanted = None
        if targets is not None:
            shares = (targets / PEAK).where(valid[:, None], torch.nan)
            wanted = rows.logits(shares)
        return replace(rows, targets=wanted, logits=answers, embedding=embedding)

    def count(self, batch: Batch) -> Tensor | int:
        """How many pixels those are."""
        if batch.targets is not None:
            return (batch.targets[:, 0] != IGNORED).sum()
        images = next(iter(named(batch.inputs).values()))
        return len(batch) * images.shape[-2] * images.shape[-1]

    # Measuring

    def meter(self, *, quick: bool = False) -> RestorationMeter:
        """PSNR of each image, and its SSIM unless quick."""
        return RestorationMeter(quick=quick)

    def comparison(self) -> RestorationComparison:
        """How much the images differ, and where the student is worse."""
        return RestorationComparison()

    def measure(self, meter: Meter, validation: Meter | None) -> RestorationFindings:
        """By image; nothing is chosen on the validation split."""
        assert isinstance(meter, RestorationMeter)
        return meter.findings()

    def weaknesses(self, found: Findings) -> tuple[str, ...]:
        """What the network gains beside bicubic enlargement, and where it gains least."""
        assert isinstance(found, RestorationFindings)
        return tuple(weaknesses(found))

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        """Figures by image, and how far the images are from the teacher's."""
        return sections(found, agreement)

    def recipe(self, *, teacher: bool) -> str:
        """Targets and teacher in equal parts, by their absolute differences; else the targets alone."""
        return '0.5*mae + 0.5*imitation(loss="l1")' if teacher else "mae"


def _pixels(size: Sequence[int]) -> str:
    return " x ".join(map(str, size)) + " pixels"
