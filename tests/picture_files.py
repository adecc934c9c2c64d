"""Small images in files laid out like the public data sets."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def pixels(count: int, height: int = 8, width: int = 8, channels: int = 3, seed: int = 0) -> Pixels:
    """Random images (N, C, H, W)."""
    return np.random.default_rng(seed).integers(0, 256, (count, channels, height, width), np.uint8)


def png(image: Pixels) -> bytes:
    """One image (C, H, W) as a file."""
    file = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def write_parquet(
    file: Path,
    images: list[bytes],
    labels: dict[str, list[int | None]],
    names: dict[str, list[str]],
    image: str = "image",
) -> None:
    """A Parquet file as the hub has it: encoded images, and labels with the names of their classes."""
    kinds: dict[str, Any] = {column: datasets.ClassLabel(names=names[column]) for column in labels}
    features = datasets.Features({image: datasets.Image(), **kinds})
    rows: dict[str, Any] = {image: [{"bytes": each, "path": None} for each in images], **labels}
    datasets.Dataset.from_dict(rows, features).to_parquet(file)


def write_splits(folder: Path, counts: dict[str, int], classes: int = 3, **options: Any) -> dict[str, Pixels]:
    """Parquet files of some splits, every class in turn; their images (N, 3, 8, 8)."""
    folder.mkdir(exist_ok=True)
    shown = {split: pixels(count, seed=seed) for seed, (split, count) in enumerate(counts.items())}
    for split, images in shown.items():
        write_parquet(
            folder / f"{split}-00000-of-00001.parquet",
            [png(image) for image in images],
            {"label": [number % classes for number in range(len(images))]},
            {"label": [f"class {number}" for number in range(classes)]},
            **options,
        )
    return shown
