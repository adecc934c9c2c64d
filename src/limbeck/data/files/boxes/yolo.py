"""YOLO's text, a file for each image: a line for each box, with class, middle and size as shares."""

from __future__ import annotations

from pathlib import Path

from limbeck.data.files.boxes.annotated import Annotated, Box
from limbeck.data.files.canvas import size_of
from limbeck.errors import LimbeckError

NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
"""Files with the names of the classes."""


def read_yolo(image: Path, file: Path) -> Annotated:
    """An image with the boxes in its text; without a text it has none.

    Args:
        image: the picture.
        file: the text.
    Raises:
        LimbeckError: for a line that is no box.
    """
    height, width = size = size_of(image, f"the image {str(image)!r}")
    boxes = []
    lines = file.read_text().splitlines() if file.is_file() else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        words = line.split()
        try:
            what, (x, y, w, h) = int(words[0]), (float(word) for word in words[1:])
        except ValueError:
            raise LimbeckError(
                f"line {number} of {str(file)!r} is {line.strip()!r:.60}, and should be a class id and x, y, "
                "width and height as shares of the image"
            ) from None
        if not all(-1e-3 <= share <= 1 + 1e-3 for share in (x, y, w, h)):
            raise LimbeckError(
                f"line {number} of {str(file)!r} has the box {line.strip()!r:.60}; x, y, width, height are "
                "shares of the image, from 0 to 1"
            )
        boxes.append(
            Box((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height, what)
        )
    return Annotated(image, size, tuple(boxes))


def names_in(place: Path) -> tuple[str, ...]:
    """The names of the classes, as a file in the directory has them; none if there is no such file."""
    file = next((place / name for name in NAMES if (place / name).is_file()), None)
    if file is None:
        return ()
    if file.suffix in (".txt", ".names"):
        return tuple(line.strip() for line in file.read_text().splitlines() if line.strip())
    import yaml

    try:
        names = (yaml.safe_load(file.read_text()) or {}).get("names")
    except (yaml.YAMLError, AttributeError):
        names = None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise LimbeckError(
            f"{str(file)!r} has no names of classes; it should hold names: [first, second, ...]"
        )
    return tuple(map(str, names))
