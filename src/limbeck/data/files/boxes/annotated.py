"""Images with their boxes, as every format gives them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from limbeck.data.files.discover import natural
from limbeck.data.files.folders import PICTURES
from limbeck.errors import LimbeckError


class Box(NamedTuple):
    """A box in pixels, x1 < x2 and y1 < y2 or not, and what it holds: the name of a class, or its number."""

    x1: float
    y1: float
    x2: float
    y2: float
    what: str | int


class Annotated(NamedTuple):
    """An image and the boxes in it.

    Attributes:
        image: the file.
        size: height and width in pixels, turned as its EXIF says.
        boxes: as the file has them.
        left_out: how many more there are that mark a crowd or are too difficult.
    """

    image: Path
    size: tuple[int, int]
    boxes: tuple[Box, ...]
    left_out: int = 0


class Found(NamedTuple):
    """What a data set is made of.

    Attributes:
        splits: the images of each split, "train" always.
        names: of the classes, in the order of their ids; none where the boxes name theirs.
    """

    splits: dict[str, list[Annotated]]
    names: tuple[str, ...] = ()


def pictures(folder: Path) -> list[Path]:
    """The images in a folder and in folders below, in their natural order; hidden ones are left out."""
    files = (file for file in folder.rglob("*") if file.suffix.lower() in PICTURES)
    seen = (file for file in files if not any(p.startswith(".") for p in file.relative_to(folder).parts))
    return sorted(seen, key=lambda file: natural(str(file.relative_to(folder))))


def checked(boxes: Iterable[Box], size: tuple[int, int], where: str) -> tuple[tuple[Box, ...], int, int]:
    """The boxes that have an area in the image, cut off where they leave it.

    Args:
        boxes: as the file has them.
        size: height and width of the image.
        where: what holds them, for messages.
    Returns: the boxes; how many had no area and are left out; and how many were cut off.
    Raises:
        LimbeckError: for one that lies outside of the image altogether, or is no number.
    """
    height, width = size
    kept: list[Box] = []
    empty = cut = 0
    for box in boxes:
        corners = box[:4]
        if not all(map(math.isfinite, corners)):
            raise LimbeckError(f"{where} has a box with corners {_listed(corners)}, which should be numbers")
        if box.x2 <= box.x1 or box.y2 <= box.y1:
            empty += 1
            continue
        if box.x1 >= width or box.y1 >= height or box.x2 <= 0 or box.y2 <= 0:
            raise LimbeckError(
                f"{where} has a box at {_listed(corners)}, outside of its image of {width} x {height}; "
                "boxes are in pixels from the upper left corner"
            )
        inside = Box(max(box.x1, 0.0), max(box.y1, 0.0), min(box.x2, width), min(box.y2, height), box.what)
        x1, y1, x2, y2 = map(np.float32, inside[:4])
        if x2 <= x1 or y2 <= y1:  # in the precision of targets
            empty += 1
            continue
        cut += inside != box
        kept.append(inside)
    return tuple(kept), empty, cut


def check_size(told: tuple[int, int], size: tuple[int, int], file: Path, image: Path) -> None:
    """Refuses boxes that are in the pixels of an image of another size.

    Args:
        told: height and width of the image that the boxes are for.
        size: those of the image that is there.
        file: what holds the boxes.
        image: the image.
    """
    if told != size:
        raise LimbeckError(
            f"{str(file)!r} is for an image of {told[1]} x {told[0]} pixels, and {str(image)!r} has "
            f"{size[1]} x {size[0]}; they should have as many"
        )


def _listed(corners: Sequence[float]) -> str:
    return f"({', '.join(f'{corner:g}' for corner in corners)})"
