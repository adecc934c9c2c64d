"""Preparation: what a network reads of a sample that others read too."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from limbeck.data.kinds import kind_of
from limbeck.data.storage.base import Samples
from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs


@dataclass(frozen=True)
class Preparation:
    """How the rendered inputs of a view become what one network reads.

    Every network reads the same view: pixels are rendered once and then resampled for each network that reads
    another resolution, so all see the same crop of the same colors. Resampling is bilinear, with a low-pass
    filter where images shrink (`torch.nn.functional.interpolate` with `antialias=True`).

    Args:
        size: the resolution that the network reads, in pixels: (height, width), or a number for both; None
            for inputs as they are rendered.
    """

    size: int | tuple[int, int] | None = None

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
        if self.size is None:
            return inputs
        images, sides = self._images(inputs), self._sides(self.size)
        if images.shape[2:] == sides:
            return images
        return F.interpolate(images, sides, mode="bilinear", antialias=True, align_corners=False)

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
        if self.size is not None and self._images(inputs).shape[2:] != self._sides(self.size):
            there = " x ".join(map(str, self._images(inputs).shape[2:]))
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

    @staticmethod
    def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
        return size if isinstance(size, tuple) else (size, size)

    def __str__(self) -> str:
        return "pixels as rendered" if self.size is None else "{} x {} pixels".format(*self._sides(self.size))


AS_RENDERED = Preparation()
"""Nothing is changed."""
