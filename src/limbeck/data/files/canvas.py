"""Images of different sizes made alike: on a canvas, with padding at the right and at the bottom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from limbeck.data.files.decoding import BROKEN, FORMATS, Decoder
from limbeck.errors import LimbeckError

if TYPE_CHECKING:
    from PIL import Image

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


def size_of(file: Path, what: str) -> tuple[int, int]:
    """Height and width of an image, turned as its EXIF says; only the beginning of the file is read.

    Args:
        file: the image.
        what: it is, "image" or "mask", for messages.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=FORMATS) as picture:
            turned = "exif" in picture.info and picture.getexif().get(_ORIENTATION, 1) >= 5
            width, height = reversed(picture.size) if turned else picture.size
    except UnidentifiedImageError:
        raise LimbeckError(
            f"the {what} {str(file)!r} is in none of the formats {', '.join(FORMATS)}"
        ) from None
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise LimbeckError(f"the {what} {str(file)!r} cannot be read: {error}") from None
    return height, width
