"""Pascal VOC's XML, a file for each image."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from limbeck.data.files.boxes.annotated import Annotated, Box, check_size
from limbeck.data.files.canvas import size_of
from limbeck.errors import LimbeckError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(image: Path, file: Path) -> Annotated:
    """An image with the boxes in its XML. Objects that are marked as difficult are left out.

    Args:
        image: the picture.
        file: the XML.
    Raises:
        LimbeckError: for a file that is missing or no such XML, and for another size than the image's.
    """
    if not file.is_file():
        raise LimbeckError(
            f"the image {str(image)!r} has no annotation; there should be one at {str(file)!r}"
        )
    try:
        root = ElementTree.parse(file).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise LimbeckError(f"{str(file)!r} cannot be read as XML: {error}") from None
    size = size_of(image, f"the image {str(image)!r}")
    told = [root.findtext(f"size/{side}") for side in ("height", "width")]
    if all(side is not None and side.strip().isdecimal() and int(side) for side in told):
        height, width = (int(side or 0) for side in told)
        check_size((height, width), size, file, image)
    boxes, difficult = [], 0
    for place, each in enumerate(root.iter("object")):
        if (each.findtext("difficult") or "0").strip() == "1":
            difficult += 1
            continue
        name = each.findtext("name")
        corners = [each.findtext(f"bndbox/{corner}") for corner in _CORNERS]
        try:
            x1, y1, x2, y2 = (float(corner or "") for corner in corners)
        except ValueError:
            raise LimbeckError(
                f"object {place} of {str(file)!r} has no bndbox with the numbers {', '.join(_CORNERS)}"
            ) from None
        if not name or not name.strip():
            raise LimbeckError(f"object {place} of {str(file)!r} has no name")
        boxes.append(Box(x1, y1, x2, y2, name.strip()))
    return Annotated(image, size, tuple(boxes), difficult)
