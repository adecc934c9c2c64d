"""From an encoded image to its pixels."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from limbeck.errors import LimbeckError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF")
"""What is tried, by Pillow's names; to try all that it knows takes twice the time."""

BROKEN = (EOFError, OSError, SyntaxError, ValueError, struct.error)
"""What Pillow raises for a file that is cut short or damaged."""


@dataclass(frozen=True)
class Decoder:
    """What images are made into. What is transparent in them is shown over white.

    Attributes:
        gray: one channel; RGB otherwise.
        size: pixels a side: the image is scaled until its shorter side has them, and its middle is cut out.
            None keeps every image as it is.
    """

    gray: bool = False
    size: int | None = None

    def __call__(self, value: Any, folder: Path, where: str) -> npt.NDArray[np.uint8]:
        """The pixels (C, H, W) of one image.

        Args:
            value: the bytes of a file, its name, or both by name, "bytes" and "path".
            folder: where the file is, if its name says no more.
            where: the row it is in, for messages; see `located`.
        Raises:
            LimbeckError: if it cannot be read, or has more than 8 bits a channel.
        """
        from PIL import Image, UnidentifiedImageError

        file = stored(value, folder, f"image in {where}")
        try:
            with Image.open(file, formats=FORMATS) as picture:
                check_depth(picture.mode, f"the image in {where}")
                pixels = self._pixels(picture)
        except LimbeckError:
            raise
        except UnidentifiedImageError:
            formats = ", ".join(FORMATS)
            raise LimbeckError(f"the image in {where} is in none of the formats {formats}") from None
        except (*BROKEN, Image.DecompressionBombError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LimbeckError(f"the image in {where} cannot be read: {reason}") from None
        return pixels[None] if self.gray else pixels.transpose(2, 0, 1)

    def _pixels(self, picture: Image.Image) -> npt.NDArray[np.uint8]:
        """(H, W) or (H, W, 3)."""
        from PIL import ImageOps

        mode = "L" if self.gray else "RGB"
        if "exif" in picture.info:  # it may say that the camera was held on its side
            picture = ImageOps.exif_transpose(picture)
        picture = opaque(picture)
        if picture.mode != mode:
            picture = picture.convert(mode)
        return np.asarray(self._sized(picture))

    def _sized(self, picture: Image.Image) -> Image.Image:
        """The picture at the size that all images have."""
        from PIL import Image, ImageOps

        if self.size is None or picture.size == (self.size, self.size):
            return picture
        return ImageOps.fit(picture, (self.size, self.size), Image.Resampling.BICUBIC)


def check_depth(mode: str, what: str) -> None:
    """Refuses images of more than 8 bits a channel, whose levels Pillow cuts off instead of scaling them.

    Args:
        mode: mode of a PIL image.
        what: the image, for the message.
    """
    if mode.startswith(("I", "F")):
        raise LimbeckError(
            f"{what} has pixels of mode {mode!r}; they should have 8 bits: scale them to 0 to 255 and save"
            " them so, or give tensors of floats"
        )


def opaque(picture: Image.Image) -> Image.Image:
    """The picture over white where it is transparent; the same object where nothing is."""
    if picture.mode not in ("RGBA", "LA", "PA", "La", "RGBa") and "transparency" not in picture.info:
        return picture
    layers = picture.convert("RGBA")
    if layers.getchannel("A").getextrema() == (255, 255):
        return picture
    from PIL import Image

    white = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(white, layers).convert("RGB")


def located(value: Any, folder: Path, where: str) -> str:
    """The place of an image, with the file if it is one of its own."""
    file = stored(value, folder, f"image in {where}")
    return f"{where}, {str(file)!r}," if isinstance(file, Path) else where


def stored(value: Any, folder: Path, what: str) -> Path | io.BytesIO:
    """What to open for an image.

    Args:
        value: the bytes of a file, its name, or both by name, "bytes" and "path".
        folder: where the file is, if its name says no more.
        what: the image, for messages, such as "image in row 3 of 'train.parquet'".
    """
    content, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, value)
    if isinstance(content, bytes):
        return io.BytesIO(content)
    if isinstance(name, str):
        return folder / name
    raise LimbeckError(f"there is no {what} but {value!r:.60}")
