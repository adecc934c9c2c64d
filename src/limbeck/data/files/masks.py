"""Masks: files that have a class id, or a color that stands for one, at each pixel."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from limbeck.data.files.decoding import BROKEN
from limbeck.errors import LimbeckError
from limbeck.tasks import Segmentation

if TYPE_CHECKING:
    from PIL import Image

IGNORED = Segmentation.ignored
_IDS = 256


@dataclass(frozen=True)
class MaskReader:
    """Reads masks as class ids; classes have the ids that are not ignored, in their order, renumbered from 0.

    Attributes:
        ignore: ids of pixels that do not count; 255 is one always.
        names: names of the classes; empty where they are not known.
        colors: color of each id, "#ff0000", in the order of the ids; empty where pixels hold the ids.
    """

    ignore: Sequence[int] = (IGNORED,)
    names: Sequence[str] = ()
    colors: Sequence[str] = ()

    def __post_init__(self) -> None:
        for number in self.ignore:
            if not 0 <= number < _IDS:
                raise LimbeckError(f"ignore should be ids from 0 to 255, and {number} is none")
        for color in self.colors:
            if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
                raise LimbeckError(f'colors should be written as "#ff8000", and {color!r} is not')
        if len({color.lower() for color in self.colors}) < len(self.colors):
            raise LimbeckError("colors should differ from each other; one is there twice")
        left = sum(number not in self.ignore for number in range(len(self.colors)))
        if self.names and self.colors and left != len(self.names):
            raise LimbeckError(
                f"there are {len(self.names)} names of classes, and {left} colors that are not ignored; each "
                "class has one of both"
            )

    @cached_property
    def _numbers(self) -> npt.NDArray[np.uint8]:
        """(256,) the class of each id."""
        kept = [number for number in range(IGNORED) if number not in self.ignore]
        numbers = np.full(_IDS, IGNORED, np.uint8)
        numbers[kept] = np.arange(len(kept))
        return numbers

    @cached_property
    def _codes(self) -> npt.NDArray[np.int64]:
        return np.array([int(color[1:], 16) for color in self.colors], np.int64)

    def __call__(self, file: Path | io.BytesIO, what: str) -> npt.NDArray[np.uint8]:
        """The classes (H, W) of one mask, 255 where a pixel does not count.

        Args:
            file: the mask.
            what: the mask, for messages.

        Raises:
            LimbeckError: for a file that cannot be read, a JPEG, colors that stand for no id, and an id for
                which there is no name.
        """
        from PIL import Image

        try:
            with Image.open(file) as picture:
                if picture.format == "JPEG":
                    raise LimbeckError(
                        f"{what} is a JPEG, whose compression changes class ids; it should be a PNG"
                    )
                ids = self._by_color(picture, what) if self.colors else self._ids(picture, what)
        except LimbeckError:
            raise
        except (*BROKEN, Image.DecompressionBombError) as error:
            raise LimbeckError(f"{what} cannot be read: {error}") from None
        classes = self._numbers[ids]
        wrong = (classes >= len(self.names)) & (classes != IGNORED) if self.names else np.zeros(1, bool)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise LimbeckError(
                f"{what} holds the id {ids[row, column]} at row {row} and column {column}, "
                f"and there are names for {len(self.names)} classes, with the ids {self._listed()}; give all "
                "names, or name ids that do not count, ignore=[...]"
            )
        return classes

    def _ids(self, picture: Image.Image, what: str) -> npt.NDArray[np.uint8]:
        if picture.mode in ("P", "L"):
            return np.asarray(picture)
        if picture.mode == "1":
            return np.asarray(picture).astype(np.uint8)
        if picture.mode.startswith("I"):
            ids = np.asarray(picture)
            if ids.min() < 0 or ids.max() >= _IDS:
                worst = ids.min() if ids.min() < 0 else ids.max()
                raise LimbeckError(f"{what} holds the id {worst}; ids should be 0 to 255")
            return ids.astype(np.uint8)
        raise LimbeckError(
            f"{what} has colors ({picture.mode}) and no palette, so its pixels hold no class "
            'ids; name the color of each class in order, colors=["#000000", "#ff0000", ...], or save masks '
            "as gray or palette PNG"
        )

    def _by_color(self, picture: Image.Image, what: str) -> npt.NDArray[np.uint8]:
        red, green, blue = np.asarray(picture.convert("RGB")).astype(np.int64).transpose(2, 0, 1)
        codes = red << 16 | green << 8 | blue
        order = self._codes.argsort()
        place = np.searchsorted(self._codes[order], codes).clip(max=len(order) - 1)
        ids: npt.NDArray[np.uint8] = order[place].astype(np.uint8)
        wrong = self._codes[ids] != codes
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise LimbeckError(
                f"{what} has the color #{codes[row, column]:06x} at row {row} and column "
                f"{column}, which is none of the {len(self.colors)} colors"
            )
        return ids

    def _listed(self) -> str:
        ids = [number for number in range(IGNORED) if number not in self.ignore][: len(self.names)]
        return f"{ids[0]} to {ids[-1]}" if ids[-1] - ids[0] == len(ids) - 1 else ", ".join(map(str, ids))
