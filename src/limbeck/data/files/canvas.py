"""Images of different sizes made alike: on a canvas, with padding at the right and at the bottom."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import numpy as np
import numpy.typing as npt

from limbeck.arguments import Count, Limits
from limbeck.data.files.decoding import BROKEN, FORMATS, Decoder
from limbeck.data.views import Crop, ScaledCrop, Views
from limbeck.errors import LimbeckError

if TYPE_CHECKING:
    from PIL import Image

Size: TypeAlias = Count | Annotated[Sequence[Count], Limits(min_length=2, max_length=2)]
"""Pixels of an image: the side of a square, or [height, width]."""

_ORIENTATION = 0x0112
"""The EXIF tag of how the camera was held; from 5 on, on its side."""


@dataclass(frozen=True)
class Canvas(Decoder):
    """What images and their masks are made into: all of one size, with their proportions.

    Attributes:
        height: rows of the canvas.
        width: columns of the canvas.
        fit: whether images are scaled until one side is that of the canvas; if not, none is larger.
    """

    height: int = 1
    width: int = 1
    fit: bool = False

    @classmethod
    def of(cls, sizes: Collection[tuple[int, int]], resize: Size | None, gray: bool) -> tuple[Canvas, bool]:
        """What images are placed on, and whether they all fill it.

        Args:
            sizes: the heights and widths that there are.
            resize: height and width that they are scaled to fit in; None for a canvas of the largest.
            gray: one channel.
        """
        if resize is None:
            height, width = (max(sides) for sides in zip(*sizes, strict=True))
            return cls(gray, None, height, width), len(set(sizes)) == 1
        height, width = (resize, resize) if isinstance(resize, int) else resize
        filled = all(size[0] * width == size[1] * height for size in sizes)
        return cls(gray, None, height, width, fit=set(sizes) != {(height, width)}), filled

    def described(self, alike: bool) -> str:
        """What is done to images, to be read after what they are."""
        scaled = f", scaled bicubically to fit in {self.height} x {self.width}" if self.fit else ""
        padded = f", with black at the right and the bottom up to {self.height} x {self.width}"
        return scaled + padded * (not alike)

    def scales(self, size: tuple[int, int]) -> tuple[float, float]:
        """By what the x and the y of an image of some height and width are multiplied on the canvas."""
        height, width = size
        if not self.fit:
            return 1.0, 1.0
        # as PIL.ImageOps.contain rounds
        wide = width * self.height > height * self.width
        made = (
            (round(height / width * self.width), self.width)
            if wide
            else (self.height, round(width / height * self.height))
        )
        return made[1] / width, made[0] / height

    def windows(self, size: Size | None) -> Views:
        """What training sees: windows of scaled images, or of images as they are; mirrored, too."""
        if size is None:
            return Crop(padding=min(self.height, self.width) // 8, flip=True)
        height, width = (size, size) if isinstance(size, int) else size
        return ScaledCrop(height, width)

    def _sized(self, picture: Image.Image) -> Image.Image:
        from PIL import Image

        return self._placed(picture, Image.Resampling.BICUBIC, 0)

    def mask(self, ids: npt.NDArray[np.uint8], ignored: int) -> npt.NDArray[np.uint8]:
        """A mask (H, W) on the canvas: scaled by nearest neighbor, with `ignored` around it."""
        from PIL import Image

        return np.asarray(self._placed(Image.fromarray(ids), Image.Resampling.NEAREST, ignored))

    def _placed(self, picture: Image.Image, resampling: Image.Resampling, fill: int) -> Image.Image:
        from PIL import Image, ImageOps

        whole = (self.width, self.height)
        if self.fit and picture.size != whole:
            picture = ImageOps.contain(picture, whole, resampling)
        if picture.size == whole:
            return picture
        canvas = Image.new(picture.mode, whole, fill if picture.mode == "L" else (fill,) * 3)
        canvas.paste(picture, (0, 0))
        return canvas


def size_of(file: Path | io.BytesIO, what: str) -> tuple[int, int]:
    """Height and width of an image, turned as its EXIF says; only the beginning of the file is read.

    Args:
        file: the image.
        what: the image, for messages.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=FORMATS) as picture:
            turned = "exif" in picture.info and picture.getexif().get(_ORIENTATION, 1) >= 5
            width, height = reversed(picture.size) if turned else picture.size
    except UnidentifiedImageError:
        raise LimbeckError(f"{what} is in none of the formats {', '.join(FORMATS)}") from None
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise LimbeckError(f"{what} cannot be read: {error}") from None
    return height, width
