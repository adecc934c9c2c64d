"""Images with the boxes of the objects in them, for detection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from limbeck.data.build import assemble
from limbeck.data.files.boxes import read
from limbeck.data.files.boxes.annotated import Annotated, Found, checked
from limbeck.data.files.boxes.layout import Format
from limbeck.data.files.canvas import Canvas, Size
from limbeck.data.files.discover import find
from limbeck.data.files.images import Held
from limbeck.data.files.placed import placed
from limbeck.data.files.rows import of_files
from limbeck.data.memory import budget
from limbeck.data.registry import written
from limbeck.data.source import PIXELS, Source
from limbeck.errors import LimbeckError, listed, unknown
from limbeck.outputs import ABSENT
from limbeck.tasks import Detection


def from_detection(
    path: str = "",
    format: Format = "auto",
    names: Sequence[str] = (),
    size: Size | None = None,
    resize: Size | None = None,
    gray: bool = False,
    test: str = "test",
    validation: Held = 0.1,
    memory: str = "auto",
    data_dir: Path | None = None,
) -> Source:
    """Images with boxes, each of a class, for detection.

    Images of different sizes are placed on a canvas of the largest, at its upper left, with black around
    them. Training takes windows of `size` of scaled images, or crops with a padding of an eighth of a side
    where there is no size, and mirrors, and boxes move along; networks are measured on whole images. Boxes
    without an area are left out, and those that leave their image are cut off, with a note on how many; one
    outside of its image is an error. COCO's crowds and VOC's difficult objects are left out.

    Args:
        path: a directory with images and COCO JSON (`annotations/instances_train.json` and `train/`, or
            `train/_annotations.coco.json` beside the images), VOC XML (`JPEGImages/`, `Annotations/` and
            `ImageSets/Main/train.txt`) or YOLO text (`images/train/` and `labels/train/`, or `train/images/`
            and `train/labels/`); or one COCO JSON. Without a test split, a tenth of the training split is
            held out for it.
        format: "coco", "voc" or "yolo"; "auto" for the one that the files have.
        names: of the classes, in the order of their ids; as in the files if none is given: COCO's categories
            by id, the names in `data.yaml` or `classes.txt`, VOC's by the alphabet.
        size: height and width of what training sees, or a side of a square; whole images if not given.
        resize: height and width that images are scaled to fit in, with their proportions.
        gray: one channel, (N, 1, H, W).
        test: what the split that final figures are measured on is called there.
        validation: the share that is held out of the training split where there is no validation split.
        memory: what decoded images may take, such as "4 GiB"; half of the free memory by default.
        data_dir: the directory that `path` is in; `--data-dir` on the command line.
    """
    given = {
        "path": path,
        "format": format,
        "names": names,
        "size": size,
        "resize": resize,
        "gray": gray,
        "test": test,
        "validation": validation,
    }
    place = find(path, data_dir)
    if place is None:
        raise LimbeckError(f"there is no directory {path!r} with images and boxes in it")
    room = budget(memory)
    found = read(place, format, test)
    classes = _names(found, names)
    canvas, alike = Canvas.of({each.size for some in found.splits.values() for each in some}, resize, gray)
    kept = {split: [_Kept(each) for each in some] for split, some in found.splits.items()}
    boxes = {split: _tensor(some, classes, canvas) for split, some in kept.items()}
    rows = {
        split: of_files(place, image=[each.image for each in some]) for split, some in found.splits.items()
    }
    parts, contents = placed(rows, "image", boxes, Detection, canvas, validation, room)
    for split in ("validation", "test"):
        if split in parts and not (parts[split].targets[..., 4] >= 0).any():
            raise LimbeckError(
                f"none of the {len(parts[split])} images of the {split} split has a box, and networks are "
                "measured by those that have; give more images, or a split of your own"
            )
    source = assemble(
        parts["train"],
        parts.get("validation"),
        parts.get("test"),
        names=classes,
        views=canvas.windows(size),
        kind="image",
        name=written("detection", from_detection, given),
        contents=contents,
    )
    kind = "gray" if gray else "RGB"
    return replace(
        source,
        preparation=f"{PIXELS} of {kind} images, turned as their EXIF says{canvas.described(alike)}",
        notes=(
            *_left_out([each for some in kept.values() for each in some]),
            *_missing(parts["train"].targets[..., 4], classes),
            *source.notes,
        ),
    )


class _Kept:
    """An image with those of its boxes that count.

    Args:
        given: as its files have it.
    """

    def __init__(self, given: Annotated) -> None:
        self.image, self.size, self.left_out = given.image, given.size, given.left_out
        self.boxes, self.empty, self.cut = checked(given.boxes, given.size, f"the image {str(given.image)!r}")


def _names(found: Found, names: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes: those given, those of the files, or numbers for as many as there are.

    Raises:
        LimbeckError: for a box of another class, and where no box tells a class.
    """
    boxes = [(each.image, box.what) for some in found.splits.values() for each in some for box in each.boxes]
    said = sorted({what for _, what in boxes if isinstance(what, str)})
    known = tuple(names) or found.names or tuple(said)
    if not known:
        numbers = [what for _, what in boxes if isinstance(what, int)]
        if not numbers:
            raise LimbeckError("no image has a box, so there are no classes to find; give names=[...]")
        known = tuple(map(str, range(max(numbers) + 1)))
    if len(set(known)) != len(known):
        raise LimbeckError(f"each class has a name of its own, and {', '.join(known)} has one twice")
    for image, what in boxes:
        if isinstance(what, str) and what not in known:
            raise unknown(f"class of a box in {str(image)!r}:", what, known)
        if isinstance(what, int) and not 0 <= what < len(known):
            raise LimbeckError(
                f"the image {str(image)!r} has a box of the class {what}, and there are names for "
                f"{len(known)} classes, 0 to {len(known) - 1}; give all of them, names=[...]"
            )
    return known


def _tensor(images: Sequence[_Kept], names: Sequence[str], canvas: Canvas) -> Tensor:
    """The boxes (N, M, 5) of each image on the canvas, with their classes, -1 where there is none."""
    ids: Mapping[str | int, int] = {name: number for number, name in enumerate(names)}
    most = max(1, *(len(each.boxes) for each in images))
    targets = torch.zeros(len(images), most, 5)
    targets[..., 4] = ABSENT
    for place, each in enumerate(images):
        x, y = canvas.scales(each.size)
        for number, box in enumerate(each.boxes):
            what = ids[box.what] if isinstance(box.what, str) else box.what
            targets[place, number] = torch.tensor([box.x1 * x, box.y1 * y, box.x2 * x, box.y2 * y, what])
    return targets


def _missing(ids: Tensor, names: Sequence[str]) -> Iterator[str]:
    """A sentence on classes that the training images have no box of."""
    found = {*ids.long().flatten().tolist()}
    missing = [name for number, name in enumerate(names) if number not in found]
    if len(missing) == len(names):
        yield "no training image has a box, so only a teacher can say where objects are"
    elif missing:
        of = "class" if len(missing) == 1 else "classes"
        yield f"no training image has a box of the {of} {listed(missing)}"


def _left_out(images: Sequence[_Kept]) -> Iterator[str]:
    """Sentences on boxes that are not as the files have them."""
    flat = [each for each in images if each.empty]
    if flat:
        yield (
            f"boxes without an area are left out: {sum(each.empty for each in flat)}, such as one in "
            f"{flat[0].image.name}"
        )
    cut = [each for each in images if each.cut]
    if cut:
        yield (
            "boxes that leave their image are cut off at its border: "
            f"{sum(each.cut for each in cut)}, such as one in {cut[0].image.name}"
        )
    if left_out := sum(each.left_out for each in images):
        yield f"boxes that mark a crowd or are difficult are left out: {left_out}"
