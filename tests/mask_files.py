"""Files of images with masks, for tests of segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Sides = tuple[int, int]


def pixels_and_ids(number: int, sides: Sides = (6, 8)) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """An image (H, W, 3) and the class ids (H, W) in it: 0 to 2, as its red channel says in steps of 50."""
    random = np.random.default_rng(number)
    ids = random.integers(0, 3, sides, dtype=np.uint8)
    image = random.integers(0, 255, (*sides, 3), dtype=np.uint8)
    image[..., 0] = 50 * ids
    return image, ids


def write_pair(
    image: Path, mask: Path, number: int, sides: Sides = (6, 8), ids: npt.NDArray[np.uint8] | None = None
) -> None:
    """Writes an image and its mask, a gray PNG, and the folders that they are in."""
    pixels, own = pixels_and_ids(number, sides)
    for file, content in ((image, pixels), (mask, own if ids is None else ids)):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(file)


def write_layout(
    place: Path, images: str, masks: str, splits: Sequence[str] = ("train", "val", "test"), count: int = 4
) -> None:
    """Writes pairs where two patterns say, with the name of the split for {split} and a number for {n}."""
    for at, split in enumerate(splits):
        for n in range(count):
            files = [place / pattern.format(split=split, n=n) for pattern in (images, masks)]
            write_pair(files[0], files[1], 100 * at + n)
