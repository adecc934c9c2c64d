"""What is found out about a network that restores images: the records."""

from __future__ import annotations

import base64
import math
import zlib
from statistics import fmean

from limbeck.tasks.measuring import Agreement, Example, Findings


class ImageFindings(Findings):
    """How an image was restored.

    Attributes:
        index: its position in the split.
        psnr: in dB; infinite where the image is restored without a flaw.
        ssim: at most 1; None for an image that is smaller than the window.
        bicubic: PSNR of the input enlarged bicubically, in dB; of the input itself where nothing is enlarged.
    """

    index: int
    psnr: float
    ssim: float | None
    bicubic: float


class RestorationFindings(Findings):
    """What is found out about a network that restores images.

    Attributes:
        images: those that have a target, in the order of the split.
    """

    images: tuple[ImageFindings, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """The task's metrics by name: means over the images, as papers give them."""
        known = [each.ssim for each in self.images if each.ssim is not None]
        return {
            "psnr": fmean(each.psnr for each in self.images),
            "ssim": fmean(known) if known else math.nan,
        }

    @property
    def bicubic(self) -> float:
        """Mean PSNR of what bicubic enlargement gives, in dB."""
        return fmean(each.bicubic for each in self.images)


class PatchExample(Example):
    """A part of an image on which student and teacher differ, to look at.

    Attributes:
        size: height and width of the part.
        pictures: what bicubic enlargement gives, student, teacher and target: levels of RGB, three bytes for
            each pixel, compressed by zlib, in base64.
    """

    size: tuple[int, int]
    pictures: tuple[str, str, str, str]

    def levels(self) -> list[bytes]:
        """The levels of the four pictures, row by row."""
        return [zlib.decompress(base64.b64decode(each)) for each in self.pictures]


class RestorationAgreement(Agreement):
    """How close a student's images are to its teacher's.

    Attributes:
        examples: parts of the images whose PSNR the student loses most of.
        psnr: mean PSNR of the student's images with the teacher's for the truth, in dB.
    """

    examples: tuple[PatchExample, ...] = ()
    psnr: float
