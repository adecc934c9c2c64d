"""COCO's JSON: images, annotations and categories that name each other by ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.data.files.boxes.annotated import Annotated, Box, check_size
from limbeck.data.files.canvas import size_of
from limbeck.errors import LimbeckError
from limbeck.files import parse_json

PARTS = ("images", "annotations", "categories")


def is_coco(file: Path) -> bool:
    """Whether a JSON file is one of COCO's, to judge by its keys."""
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and all(isinstance(content.get(part), list) for part in PARTS)


def read_coco(file: Path, folders: Sequence[Path]) -> tuple[list[Annotated], tuple[str, ...]]:
    """The images that a file names, with their boxes, and the names of the classes.

    Args:
        file: the JSON.
        folders: where images may lie, the first that has one counts.
    Raises:
        LimbeckError: for an annotation of an image or a category that there is not, a box that is none, and
            an image that is nowhere.
    """
    content = _content(file)
    categories = _by_id(content["categories"], "category", file)
    order = {number: place for place, number in enumerate(sorted(categories))}
    names = tuple(str(_field(categories[number], "name", f"the category {number}", file)) for number in order)
    images = _by_id(content["images"], "image", file)
    boxes: dict[Any, list[Box]] = {number: [] for number in images}
    crowds = dict.fromkeys(images, 0)
    for place, each in enumerate(content["annotations"]):
        what = f"the annotation {each.get('id', f'number {place}')}" if isinstance(each, dict) else "one"
        image, category = (_field(each, key, what, file) for key in ("image_id", "category_id"))
        for number, known, kind in ((image, images, "image"), (category, order, "category")):
            if number not in known:
                raise LimbeckError(
                    f"{what} of {str(file)!r} is of the {kind} {number!r}, and there is no such {kind}"
                )
        if each.get("iscrowd"):
            crowds[image] += 1
            continue
        boxes[image].append(_box(_field(each, "bbox", what, file), order[category], what, file))
    found = []
    for number, its in images.items():
        picture = _picture(str(_field(its, "file_name", f"the image {number}", file)), folders, file)
        size = size_of(picture, f"the image {str(picture)!r}")
        check_size((its.get("height") or size[0], its.get("width") or size[1]), size, file, picture)
        found.append(Annotated(picture, size, tuple(boxes[number]), crowds[number]))
    return found, names


def _content(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LimbeckError(f"{str(file)!r} cannot be read as JSON: {error}") from None
    for part in PARTS:
        if not isinstance(content, dict) or not isinstance(content.get(part), list):
            raise LimbeckError(f"{str(file)!r} is no COCO JSON: it should have lists {', '.join(PARTS)}")
    return dict(content)


def _by_id(items: Sequence[Any], what: str, file: Path) -> dict[Any, Mapping[str, Any]]:
    found: dict[Any, Mapping[str, Any]] = {}
    for place, each in enumerate(items):
        number = _field(each, "id", f"the {what} number {place}", file)
        if number in found:
            raise LimbeckError(f"{str(file)!r} has two of the {what} with the id {number!r}")
        found[number] = each
    return found


def _field(item: Any, key: str, what: str, file: Path) -> Any:
    if not isinstance(item, dict) or key not in item:
        raise LimbeckError(f"{what} of {str(file)!r} has no {key!r}")
    return item[key]


def _box(given: Any, category: int, what: str, file: Path) -> Box:
    numbers = isinstance(given, list) and all(isinstance(each, int | float) for each in given)
    if not numbers or len(given) != 4:
        raise LimbeckError(
            f"{what} of {str(file)!r} has the box {given!r:.60}; it should be [x, y, width, height] in pixels"
        )
    x, y, width, height = map(float, given)
    return Box(x, y, x + width, y + height, category)


def _picture(name: str, folders: Sequence[Path], file: Path) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    listed = ", ".join(repr(str(folder)) for folder in folders)
    raise LimbeckError(f"{str(file)!r} names the image {name!r}, which is in none of {listed}")
