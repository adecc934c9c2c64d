"""Images with a mask each, for semantic segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from limbeck.data.build import assemble
from limbeck.data.files.canvas import Canvas, Size, size_of
from limbeck.data.files.discover import find
from limbeck.data.files.images import Held
from limbeck.data.files.mask_pairs import Pair, by_patterns, in_folders
from limbeck.data.files.masks import IGNORED, MaskReader
from limbeck.data.files.readable import contents_of
from limbeck.data.files.rows import of_files, portions
from limbeck.data.memory import budget
from limbeck.data.prefetch import in_order
from limbeck.data.registry import written
from limbeck.data.source import PIXELS, Source
from limbeck.data.split import Split, copies
from limbeck.data.storage.streamed import WORKERS, decoded
from limbeck.errors import LimbeckError
from limbeck.tasks import Segmentation


def from_segmentation(
    path: str = "",
    images: str | None = None,
    masks: str | None = None,
    names: str | Sequence[str] = (),
    ignore: int | Sequence[int] = IGNORED,
    colors: Sequence[str] = (),
    size: Size | None = None,
    resize: Size | None = None,
    gray: bool = False,
    test: str = "test",
    validation: Held = 0.1,
    resolution: Literal["labels", "outputs"] = "labels",
    memory: str = "auto",
    data_dir: Path | None = None,
) -> Source:
    """Images with masks that name a class for each pixel, for segmentation.

    Images of different sizes are placed on a canvas of the largest, at its upper left, with black and pixels
    that do not count around them. Training takes windows of `size` of scaled images, or crops with a padding
    of an eighth of a side where there is no size, and mirrors; networks are measured on whole images. Masks
    are in memory, a byte for each pixel; images where they fit, and else decoded for every batch.

    Args:
        path: a directory with folders `images` and `masks`, which may have folders `train`, `val` and `test`
            in them or around them, or with files `train.txt` and so on that list the names; or with folders
            `train` and `trainannot`. Image and mask have the same name. Without a test split, a tenth of the
            training split is held out for it.
        images: a pattern of the names of the images instead, such as
            "leftImg8bit/{split}/*/*_leftImg8bit.png".
        masks: that of the masks, such as "gtFine/{split}/*/*_gtFine_labelIds.png"; what stands for each * is
            the same in both.
        names: of the classes, in the order of their ids; or the name of a file in the directory with a name
            on each line. Numbers if none is given.
        ignore: ids of pixels that do not count, one or several; 255 is one always. Classes have the others,
            in their order.
        colors: the color of each id, such as ["#000000", "#ff0000"], for masks that have colors and no ids.
        size: height and width of what training sees, or a side of a square; whole images if not given.
        resize: height and width that images are scaled to fit in, with their proportions; masks by nearest.
        gray: one channel, (N, 1, H, W).
        test: what the split that final figures are measured on is called there.
        validation: the share that is held out of the training split where there is no validation split.
        resolution: "labels" to compare pixels at the resolution of the masks, to which a network's logits are
            resized; "outputs" for that of the student's logits, which takes less memory.
        memory: what decoded images may take, such as "4 GiB"; half of the free memory by default.
        data_dir: the directory that `path` is in; `--data-dir` on the command line.
    """
    given = {
        "path": path,
        "images": images,
        "masks": masks,
        "names": names,
        "ignore": ignore,
        "colors": colors,
        "size": size,
        "resize": resize,
        "gray": gray,
        "test": test,
        "validation": validation,
        "resolution": resolution,
    }
    place = find(path, data_dir)
    if place is None or not place.is_dir():
        raise LimbeckError(f"there is no directory {path!r} with images and masks in it")
    if (images is None) != (masks is None):
        raise LimbeckError("images=... and masks=... are patterns of names that belong together; give both")
    pairs = (
        in_folders(place, test)
        if images is None or masks is None
        else by_patterns(place, images, masks, test)
    )
    room = budget(memory)
    canvas, alike = _canvas(pairs, resize, gray)
    known = _names(names, place)
    reader = MaskReader([ignore] if isinstance(ignore, int) else list(ignore), known, colors)
    maps = _read(pairs, reader, canvas, room)
    rows = {split: of_files([pair.image for pair in some], place) for split, some in pairs.items()}
    contents = {
        split: contents_of(its, "image", torch.arange(len(maps[split]))) for split, its in rows.items()
    }
    made = portions(
        {split: Segmentation.strata(its) for split, its in maps.items()},
        0.1,
        validation,
        copies(contents["train"]),
    )
    samples = decoded(
        {split: rows[of] for split, (of, _) in made.items()},
        "image",
        {split: where for split, (_, where) in made.items()},
        canvas,
        room - sum(its.nbytes for its in maps.values()),
    )
    parts = {
        split: Split.whole(samples[split], maps[of][where], Segmentation)
        for split, (of, where) in made.items()
    }
    source = assemble(
        parts["train"],
        parts.get("validation"),
        parts.get("test"),
        names=known or None,
        width=None if known else _width(maps),
        views=canvas.windows(size),
        kind="image",
        name=written("segmentation", from_segmentation, given),
        contents={
            split: [contents[of][row] for row in where.tolist()] for split, (of, where) in made.items()
        },
    )
    assert isinstance(source.task, Segmentation)
    kind = "gray" if gray else "RGB"
    return replace(
        source,
        task=replace(source.task, resolution=resolution),
        preparation=f"{PIXELS} of {kind} images, turned as their EXIF says{canvas.described(alike)}",
    )


def _canvas(pairs: Mapping[str, Sequence[Pair]], resize: Size | None, gray: bool) -> tuple[Canvas, bool]:
    """What all images are placed on, and whether they all fill it.

    Raises:
        LimbeckError: for a mask of another size than its image.
    """
    sizes = set()
    for some in pairs.values():
        for image, mask in some:
            size, its = size_of(image, "image"), size_of(mask, "mask")
            if size != its:
                raise LimbeckError(
                    f"the image {str(image)!r} has {size[0]} x {size[1]} pixels, and its mask {str(mask)!r} "
                    f"{its[0]} x {its[1]}; they should have as many"
                )
            sizes.add(size)
    return Canvas.of(sizes, resize, gray)


def _names(names: str | Sequence[str], place: Path) -> tuple[str, ...]:
    """The names of the classes, from a file where one is named."""
    if not isinstance(names, str):
        return tuple(names)
    file = place / names
    if not file.is_file():
        raise LimbeckError(f"there is no file {str(file)!r} with names of classes, one on each line")
    return tuple(line.strip() for line in file.read_text().splitlines() if line.strip())


def _read(
    pairs: Mapping[str, Sequence[Pair]], reader: MaskReader, canvas: Canvas, room: int
) -> dict[str, Tensor]:
    """The masks (N, H, W) uint8 of each split, on the canvas."""
    total = sum(map(len, pairs.values())) * canvas.height * canvas.width
    if total > room:
        raise LimbeckError(
            f"the masks take {total / 1e9:.1f} GB in memory, and there are {room / 1e9:.1f} GB for the data; "
            "take smaller images, resize=[height, width], or give it more, memory=..."
        )

    def classes(pair: Pair) -> Tensor:
        return torch.from_numpy(canvas.mask(reader(pair.mask), IGNORED).copy())

    found = {}
    for split, some in pairs.items():
        maps = torch.empty(len(some), canvas.height, canvas.width, dtype=torch.uint8)
        for at, each in enumerate(in_order((partial(classes, pair) for pair in some), WORKERS)):
            maps[at] = each
        found[split] = maps
    return found


def _width(maps: Mapping[str, Tensor]) -> int:
    """How many classes all splits show; 0 where no pixel counts."""
    return max(int(its.where(its != IGNORED, 0).max()) + 1 for its in maps.values())
