"""Files of images with boxes, for tests of detection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Boxes = Sequence[tuple[int, int, int, int, int]]
"""x1, y1, x2, y2 and a class, 0 or 1."""

NAMES = ("red", "blue")


def picture(boxes: Boxes, sides: tuple[int, int] = (32, 40)) -> Image.Image:
    """Gray noise with a rectangle of the color of its class for each box."""
    pixels = np.random.default_rng(len(boxes)).integers(90, 120, (*sides, 3), dtype=np.uint8)
    for x1, y1, x2, y2, which in boxes:
        pixels[y1:y2, x1:x2] = (250, 0, 0) if which == 0 else (0, 0, 250)
    return Image.fromarray(pixels)


def drawn(number: int, sides: tuple[int, int] = (32, 40)) -> Boxes:
    """One to three boxes that do not touch, as a number decides; none for every seventh."""
    random = np.random.default_rng(number)
    found = []
    for place in range(0 if number % 7 == 6 else 1 + number % 3):
        width, height = (int(side) for side in random.integers(8, 12, 2))
        x = 13 * place + int(random.integers(0, 2))
        y = int(random.integers(0, sides[0] - height))
        found.append((x, y, min(x + width, sides[1]), y + height, int(random.integers(2))))
    return found


def save(file: Path, boxes: Boxes, sides: tuple[int, int] = (32, 40)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture(boxes, sides).save(file)


def voc(file: Path, boxes: Boxes, sides: tuple[int, int] = (32, 40), more: str = "") -> None:
    """Writes an XML."""
    objects = "".join(
        f"<object><name>{NAMES[which]}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
        f"<ymax>{y2}</ymax></bndbox></object>"
        for x1, y1, x2, y2, which in boxes
    )
    size = f"<size><width>{sides[1]}</width><height>{sides[0]}</height><depth>3</depth></size>"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"<annotation>{size}{objects}{more}</annotation>")


def yolo(file: Path, boxes: Boxes, sides: tuple[int, int] = (32, 40)) -> None:
    """Writes a text; none for an image without boxes."""
    height, width = sides
    file.parent.mkdir(parents=True, exist_ok=True)
    if boxes:
        file.write_text(
            "".join(
                f"{which} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} "
                f"{(y2 - y1) / height}\n"
                for x1, y1, x2, y2, which in boxes
            )
        )


def coco(images: dict[str, Boxes]) -> dict[str, Any]:
    """The content of a JSON, whose ids are not the positions."""
    numbered = list(enumerate(images.items(), 11))
    found = [
        {"image_id": number, "category_id": 3 + 4 * which, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0}
        for number, (_, boxes) in numbered
        for x1, y1, x2, y2, which in boxes
    ]
    return {
        "images": [{"id": number, "file_name": name} for number, (name, _) in numbered],
        "annotations": [{"id": place, **each} for place, each in enumerate(found, 1)],
        "categories": [{"id": 7, "name": "blue"}, {"id": 3, "name": "red"}],
    }


def write_coco(file: Path, images: dict[str, Boxes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(coco(images)))


def write_yolo(place: Path, splits: dict[str, int]) -> None:
    """A directory with so many images of each split, in `train/images/`, `train/labels/` and so on."""
    first = 0
    for split, count in splits.items():
        for number in range(first, first + count):
            save(place / split / "images" / f"{number}.png", drawn(number))
            yolo(place / split / "labels" / f"{number}.txt", drawn(number))
        first += count
    (place / "data.yaml").write_text("names: [red, blue]\n")
