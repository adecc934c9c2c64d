"""What is found out about a network that labels pixels: the records."""

from __future__ import annotations

import base64
import zlib
from functools import cached_property
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from limbeck.tasks.measuring import Agreement, Example, Findings


class HardPixels(BaseModel):
    """What a network does where labels are hard, see `limbeck.tasks.segmentation.regions`.

    Attributes:
        boundary_pixels: how many pixels are near a boundary of two classes.
        boundary_iou: the intersection over union of each class over these; None for one that is in no label
            and no answer there.
        small_regions: how many regions of one class are small.
        small_pixels: how many pixels they have.
        small_right: how many of these are right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    boundary_pixels: int
    boundary_iou: tuple[float | None, ...]
    small_regions: int
    small_pixels: int
    small_right: int

    @property
    def boundary_miou(self) -> float | None:
        """The mean over the classes that have a value; None without a boundary."""
        return fmean(known) if (known := [iou for iou in self.boundary_iou if iou is not None]) else None

    @property
    def small_accuracy(self) -> float | None:
        """The share of the pixels in small regions that are right; None without such regions."""
        return self.small_right / self.small_pixels if self.small_pixels else None


class PixelFindings(Findings):
    """What is found out about a network that labels pixels.

    Attributes:
        matrix: (C, C) numbers of pixels, a row for each class of the labels, a column for each answer.
        images: how many images have a pixel that counts.
        hard: what it does where labels are hard; None where only the metrics were asked for.
    """

    matrix: tuple[tuple[int, ...], ...]
    images: int
    hard: HardPixels | None = None

    @cached_property
    def pixels(self) -> tuple[int, ...]:
        """How many pixels are of each class."""
        return tuple(map(sum, self.matrix))

    @cached_property
    def answers(self) -> tuple[int, ...]:
        """How many pixels the network takes for each class."""
        return tuple(map(sum, zip(*self.matrix, strict=True)))

    @cached_property
    def right(self) -> tuple[int, ...]:
        """How many pixels of each class the network takes for it."""
        return tuple(row[at] for at, row in enumerate(self.matrix))

    @cached_property
    def iou(self) -> tuple[float | None, ...]:
        """The intersection over union of each class; None for one that is in no label and no answer."""
        return tuple(
            right / union if (union := pixels + answers - right) else None
            for pixels, answers, right in zip(self.pixels, self.answers, self.right, strict=True)
        )

    @cached_property
    def recall(self) -> tuple[float | None, ...]:
        """The share of the pixels of each class that are right; None for one that is in no label."""
        return tuple(
            right / pixels if pixels else None for pixels, right in zip(self.pixels, self.right, strict=True)
        )

    @property
    def metrics(self) -> dict[str, float]:
        """The task's metrics by name: the means are over the classes that have a value."""
        return {
            "miou": fmean(value for value in self.iou if value is not None),
            "pixel_accuracy": sum(self.right) / sum(self.pixels),
            "mean_accuracy": fmean(value for value in self.recall if value is not None),
        }


class PixelExample(Example):
    """A sample on which student and teacher differ, with the maps to look at.

    Attributes:
        size: height and width of the maps.
        maps: label, student's and teacher's class ids, a byte for each pixel, compressed by zlib, in base64.
    """

    size: tuple[int, int]
    maps: tuple[str, str, str]

    def classes(self) -> list[list[int]]:
        """The class ids of the three maps, each row by row; 255 where a pixel does not count."""
        return [[*zlib.decompress(base64.b64decode(each))] for each in self.maps]


class PixelAgreement(Agreement):
    """How close a student's answers are to its teacher's.

    Attributes:
        examples: the samples on which the student loses most pixels that the teacher gets right.
        miou: mIoU of the student's answers with the teacher's for the truth.
    """

    examples: tuple[PixelExample, ...] = ()
    miou: float
