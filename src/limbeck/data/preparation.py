"""Preparation: what a network reads of a sample that others read too."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from limbeck.data.kinds import kind_of
from limbeck.data.storage.base import Samples
from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs
from limbeck.processors import Resample


@dataclass(frozen=True)
class Preparation:
    """How the rendered inputs of a view become what one network reads.

    Every network reads the same view: pixels are rendered once and then resampled for each network that reads
    another resolution, so all see the same crop of the same colors. Resampling has a low-pass filter where
    images shrink (`torch.nn.functional.interpolate` with `antialias=True`).

    Args:
        size: the resolution that images are resampled to, in pixels: (height, width), or a number for both;
            None for inputs as they are rendered.
        shortest: whether size is a number for the shorter side, and the longer one keeps the aspect.
        resample: how images are resampled.
        crop: (height, width) that is then cut out of the middle, with zeros around what is smaller; None for
            all of it.
        flipped: whether the channels are read the other way round, BGR.
    """

    size: int | tuple[int, int] | None = None
    shortest: bool = False
    resample: Resample = "bilinear"
    crop: tuple[int, int] | None = None
    flipped: bool = False

    def __post_init__(self) -> None:
        sides = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        if self.size is not None and not (
            len(sides) == 2 and all(type(side) is int and side >= 1 for side in sides)
        ):
            raise LimbeckError(
                f"size should be a number of pixels, or (height, width), of at least 1, not {self.size!r}"
            )

    def __call__(self, inputs: Inputs) -> Inputs:
        """The inputs as the network reads them.

        Args:
            inputs: as they are rendered, (B, C, H, W) floats where a size is given.
        Raises:
            LimbeckError: for a size of inputs that have none, such as tables and texts.
        """
        if self == AS_RENDERED:
            return inputs
        images = self._images(inputs)
        if self.size is not None and images.shape[2:] != (sides := self._sides(images)):
            if self.resample == "nearest":
                images = F.interpolate(images, sides, mode="nearest-exact")
            else:
                images = F.interpolate(images, sides, mode=self.resample, antialias=True, align_corners=False)
            if self.resample == "bicubic":
                images = images.clamp(0, 1)  # it overshoots
        images = images if self.crop is None else _middle(images, *self.crop)
        return images.flip(1) if self.flipped else images

    def read(self, rendered: Inputs, samples: Samples, index: Tensor) -> Inputs:
        """The inputs as the network reads them, with the samples at hand that they were rendered from.

        Args:
            rendered: what was rendered of the samples.
            samples: where they lie.
            index: (B,) int64 positions of the samples.
        """
        return self(rendered)

    def key(self, samples: Samples) -> str:
        """A text that differs where the same network would read other inputs of the same rendered samples."""
        return str(self)

    def lengths(self, samples: Samples, index: Tensor) -> Tensor | None:
        """(B,) int64 length of each sample as the network reads it; None where all are as long."""
        return samples.lengths(index)

    def check(self, inputs: Inputs, name: str) -> None:
        """Refuses inputs that are not prepared like this, where that shows.

        Args:
            inputs: what a network is about to read.
            name: the network's name.
        """
        images = None if self.size is None and self.crop is None else self._images(inputs)
        if images is not None and images.shape[2:] != (self.crop or self._sides(images)):
            there = " x ".join(map(str, images.shape[2:]))
            raise LimbeckError(
                f"the network {name} reads {self}, and the batch holds {there} pixels for it; make batches"
                f" with Loader(..., teacher_preparations={{{name!r}: {self!r}}})"
            )

    def _images(self, inputs: Inputs) -> Tensor:
        kind = kind_of(inputs)
        if kind != "image" or not isinstance(inputs, Tensor):
            raise LimbeckError(
                f"a network's size={self.size} is the resolution of the images that it reads, and these"
                f" inputs are no images ({kind}); leave the size out"
            )
        return inputs

    def _sides(self, images: Tensor) -> tuple[int, int]:
        """What images (B, C, H, W) are resampled to."""
        if isinstance(self.size, tuple):
            return self.size
        height, width = images.shape[2:]
        if self.size is None:
            return height, width
        if not self.shortest:
            return self.size, self.size
        longer = int(self.size * max(height, width) / min(height, width))
        return (self.size, longer) if height <= width else (longer, self.size)

    def __str__(self) -> str:
        if self == AS_RENDERED:
            return "pixels as rendered"
        sides = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        said = [] if self.size is None else ["{} x {} pixels".format(*sides)]
        if self.shortest:
            said = [f"{self.size} pixels on the shorter side"]
        said += [] if self.resample == "bilinear" else [self.resample]
        said += [] if self.crop is None else ["the middle {} x {}".format(*self.crop)]
        return ", ".join([*said, *(["BGR"] if self.flipped else [])])


def _middle(images: Tensor, height: int, width: int) -> Tensor:
    """The middle of images (B, C, H, W), with zeros around what is smaller."""
    more = [
        max(wanted - there, 0) for wanted, there in zip((width, height), images.shape[:1:-1], strict=True)
    ]
    if any(more):
        before = [-(-each // 2) for each in more]
        images = F.pad(images, (before[0], more[0] - before[0], before[1], more[1] - before[1]))
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    return images[:, :, top : top + height, left : left + width]


AS_RENDERED = Preparation()
"""Nothing is changed."""
