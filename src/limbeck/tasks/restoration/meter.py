"""Measures networks that restore images: one alone, and a student beside its teacher."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import Batch, Outputs, named
from limbeck.tasks.measuring import Comparison, Meter
from limbeck.tasks.parts.worst import Worst
from limbeck.tasks.restoration.bicubic import resized_bicubic
from limbeck.tasks.restoration.findings import (
    ImageFindings,
    PatchExample,
    RestorationAgreement,
    RestorationFindings,
)
from limbeck.tasks.restoration.quality import PEAK, cropped, luma, psnr, ssim

IGNORED = -1
"""The level of a pixel that does not count."""

PATCH = 64
"""Pixels that a part of an image has at most at each side, where it is an example."""


@dataclass(frozen=True)
class Whole:
    """An image without what was put around it.

    Attributes:
        shown: (C, h, w) levels of the input.
        size: height and width of the target.
        target: (C, H, W) levels from 0 to 255; None without one.
        scale: pixels of the target for one of the input, along a side.
    """

    shown: Tensor
    size: tuple[int, int]
    target: Tensor | None
    scale: int

    @cached_property
    def enlarged(self) -> Tensor:
        """(C, H, W) levels of what bicubic enlargement gives, not rounded."""
        return self.shown if self.scale == 1 else resized_bicubic(self.shown, *self.size).clamp(0, PEAK)

    def levels(self, answer: Tensor) -> Tensor:
        """(C, H, W) what a network answers, (C, h, w) pixels in [0, 1], as levels of an 8-bit image."""
        height, width = self.size
        return (PEAK * answer[:, :height, :width].detach().cpu().double()).round().clamp(0, PEAK)

    def compared(self, levels: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """The lumas (H, W) that are compared, without borders of `scale` pixels."""
        ours, theirs = (cropped(luma(each), self.scale if self.scale > 1 else 0) for each in (levels, other))
        return ours, theirs


def wholes(batch: Batch, answers: Tensor) -> Iterator[Whole | None]:
    """The images of a batch; None for one of which no pixel counts.

    Args:
        batch: with images (B, c, h, w) as inputs and targets (B, C, H, W), or none.
        answers: (B, C, H, W) a network's, which say how large images are.
    """
    images = next(iter(named(batch.inputs).values()))
    scale = answers.shape[-1] // images.shape[-1]
    for at, image in enumerate(images.detach().cpu().double()):
        if batch.targets is None:
            height, width = (scale * side for side in image.shape[-2:])
            target = None
        else:
            counts = (batch.targets[at, 0] != IGNORED).cpu()
            height, width = int(counts.any(1).sum()), int(counts.any(0).sum())
            target = batch.targets[at, :, :height, :width].cpu()
            if not target.numel():
                yield None
                continue
        shown = PEAK * image[:, : -(-height // scale), : -(-width // scale)]
        yield Whole(shown, (height, width), target, scale)


class RestorationMeter(Meter):
    """PSNR and SSIM of each image, of the luma of rounded levels, without borders as wide as the scale.

    Args:
        quick: PSNR alone.
    """

    def __init__(self, *, quick: bool = False) -> None:
        self._quick = quick
        self._images: list[ImageFindings] = []
        self._seen = 0

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in answers (B, C, H, W) and targets of the same shape."""
        first, self._seen = self._seen, self._seen + len(batch)
        if batch.targets is None:
            return
        for at, (whole, answer) in enumerate(zip(wholes(batch, outputs.logits), outputs.logits, strict=True)):
            if whole is None or whole.target is None:
                continue
            ours, theirs = whole.compared(whole.levels(answer), whole.target)
            likeness = math.nan if self._quick else ssim(ours, theirs)
            plain = ours if self._quick else whole.compared(whole.enlarged, whole.target)[0]
            self._images.append(
                ImageFindings(
                    index=first + at,
                    psnr=psnr(ours, theirs),
                    ssim=None if math.isnan(likeness) else likeness,
                    bicubic=psnr(plain, theirs),
                )
            )

    def compute(self) -> dict[str, float]:
        """`psnr` in dB, and `ssim` unless quick."""
        found = self.findings().metrics
        return {"psnr": found["psnr"]} if self._quick else found

    def findings(self) -> RestorationFindings:
        """All there is to say."""
        if not self._images:
            raise LimbeckError(
                f"none of the {self._seen} images has a target, and networks are measured by those that do"
            )
        return RestorationFindings(images=tuple(self._images))


class RestorationComparison(Comparison):
    """Measures how a student's images differ from its teacher's, and where it is worse."""

    def __init__(self) -> None:
        self._worst = Worst()
        self._images = 0
        self._distances: list[float] = []
        self._psnrs: list[float] = []

    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        """Takes in answers (B, C, H, W) of both."""
        lost: list[float] = []
        shown: list[tuple[Whole, Tensor, Tensor] | None] = []
        for at, whole in enumerate(wholes(batch, student.logits)):
            lost.append(0.0)
            shown.append(None)
            if whole is None:
                continue
            ours, theirs = whole.levels(student.logits[at]), whole.levels(teacher.logits[at])
            self._distances.append(float((ours - theirs).abs().mean()))
            self._psnrs.append(psnr(*whole.compared(ours, theirs)))
            if whole.target is not None:
                target = whole.target
                right, wrong = (psnr(*whole.compared(each, target)) for each in (theirs, ours))
                lost[at], shown[at] = right - wrong, (whole, ours, theirs)
        first, badness = self._images, torch.tensor(lost, dtype=torch.float64)
        self._worst.add(
            badness, badness > 0, lambda place: _example(first + place, lost[place], shown[place])
        )
        self._images += len(batch)

    def compute(self) -> RestorationAgreement:
        """The distance of the images, and those on which the student is worst beside the teacher."""
        return RestorationAgreement(
            agreement=None,
            distance=fmean(self._distances) if self._distances else 0.0,
            examples=tuple(each for each in self._worst.examples if isinstance(each, PatchExample)),
            psnr=fmean(self._psnrs) if self._psnrs else math.inf,
        )


def _example(index: int, lost: float, shown: tuple[Whole, Tensor, Tensor] | None) -> PatchExample:
    """The part of an image in which the student's error exceeds the teacher's by most."""
    assert shown is not None
    whole, ours, theirs = shown
    assert whole.target is not None
    target = whole.target.double()
    excess = ((luma(ours) - luma(target)).square() - (luma(theirs) - luma(target)).square())[None, None]
    side = min(PATCH, *excess.shape[-2:])
    means = F.avg_pool2d(excess, side, stride=1)[0, 0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    parts = [
        each[:, row : row + side, column : column + side] for each in (whole.enlarged, ours, theirs, target)
    ]
    values = [f"{psnr(*whole.compared(each, target)):.2f} dB" for each in (whole.enlarged, ours, theirs)]
    return PatchExample(
        index=index,
        target=f"the part of image {index} from row {row} and column {column}; bicubic {values[0]}",
        student=f"{values[1]} in the whole image, {lost:.2f} dB less than the teacher",
        teacher=values[2],
        size=(side, side),
        pictures=(_packed(parts[0]), _packed(parts[1]), _packed(parts[2]), _packed(parts[3])),
    )


def _packed(levels: Tensor) -> str:
    rgb = levels.round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0).contiguous()
    return base64.b64encode(zlib.compress(rgb.numpy().tobytes(), 9)).decode()
