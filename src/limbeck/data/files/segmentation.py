"""Images with a mask each, for semantic segmentation."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from limbeck.data.build import assemble
from limbeck.data.files.arrow import holds_rows, read_mapped
from limbeck.data.files.canvas import Canvas, Size, size_of
from limbeck.data.files.decoding import stored
from limbeck.data.files.discover import find
from limbeck.data.files.images import Held
from limbeck.data.files.mask_pairs import by_patterns, in_folders
from limbeck.data.files.masks import IGNORED, MaskReader
from limbeck.data.files.placed import placed
from limbeck.data.files.rows import Rows, of_files
from limbeck.data.memory import budget
from limbeck.data.prefetch import in_order
from limbeck.data.registry import written
from limbeck.data.source import PIXELS, Source
from limbeck.data.storage.streamed import WORKERS
from limbeck.errors import LimbeckError, listed
from limbeck.tasks import Segmentation


def from_segmentation(
    path: str = "",
    images: str | None = None,
    masks: str | None = None,
    image: str | None = None,
    mask: str | None = None,
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
            `train` and `trainannot`. Image and mask have the same name. Or rows with a column of each: a
            directory with files `train.parquet`, .csv, .json, .jsonl or .arrow, and maybe the same of the
            other splits, or one such file; a directory that `datasets` has saved; or a data set of the
            Hugging Face hub. Without a test split, a tenth of the training split is held out for it.
        images: a pattern of the names of the images instead, such as
            "leftImg8bit/{split}/*/*_leftImg8bit.png".
        masks: that of the masks, such as "gtFine/{split}/*/*_gtFine_labelIds.png"; what stands for each * is
            the same in both.
        image: the column of the images where there are rows, "image" by default: encoded, or names of files.
        mask: that of the masks, "mask" by default.
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
        "image": image,
        "mask": mask,
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
    if (images is None) != (masks is None):
        raise LimbeckError("images=... and masks=... are patterns of names that belong together; give both")
    place = find(path, data_dir)
    room = budget(memory)
    if place is None or holds_rows(place):
        if images is not None:
            raise LimbeckError(
                f"images=... and masks=... are patterns of names of files, and {path or str(place)!r} holds "
                "rows; name their columns, image=... and mask=..."
            )
        columns = Columns(image or "image", mask or "mask")
        rows = read_mapped(path, data_dir, test, room, as_text=columns, only=columns)
    else:
        if image is not None or mask is not None:
            raise LimbeckError(
                f"image=... and mask=... are columns of rows, and {str(place)!r} holds files; "
                "leave them out, or name patterns, images=... and masks=..."
            )
        columns = Columns("image", "mask")
        rows = _in_files(place, images, masks, test)
    for its in rows.values():
        its.check_columns(*columns)
    canvas, alike = _canvas(rows, columns, resize, gray)
    known = _names(names, place)
    reader = MaskReader([ignore] if isinstance(ignore, int) else list(ignore), known, colors)
    maps = _read(rows, columns.mask, reader, canvas, room)
    masks_take = sum(its.nbytes for its in maps.values())
    parts, contents = placed(rows, columns.image, maps, Segmentation, canvas, validation, room - masks_take)
    source = assemble(
        parts["train"],
        parts.get("validation"),
        parts.get("test"),
        names=known or None,
        width=None if known else _width(maps),
        views=canvas.windows(size),
        kind="image",
        name=written("segmentation", from_segmentation, given),
        contents=contents,
    )
    assert isinstance(source.task, Segmentation)
    kind = "gray" if gray else "RGB"
    return replace(
        source,
        task=replace(source.task, resolution=resolution),
        notes=(*_notes(source.task, parts["train"].targets), *source.notes),
        hub=path if place is None else None,
        preparation=f"{PIXELS} of {kind} images, turned as their EXIF says{canvas.described(alike)}",
    )


class Columns(NamedTuple):
    """The columns of images and of masks."""

    image: str
    mask: str


def _in_files(place: Path, images: str | None, masks: str | None, test: str) -> dict[str, Rows]:
    """The names of the files of each split, as rows."""
    pairs = (
        in_folders(place, test)
        if images is None or masks is None
        else by_patterns(place, images, masks, test)
    )
    return {
        split: of_files(place, image=[pair.image for pair in some], mask=[pair.mask for pair in some])
        for split, some in pairs.items()
    }


def _opened(rows: Rows, column: str, what: str) -> Iterator[tuple[Path | io.BytesIO, str]]:
    """For each row, what to open for its image or mask, and what messages call it."""
    for number, value in enumerate(rows.stored(column), 1):
        where = f"{what} in row {number} of {rows.name}"
        file = stored(value, rows.folder, where)
        yield file, f"the {what} {str(file)!r}" if isinstance(file, Path) else f"the {where}"


def _canvas(
    rows: Mapping[str, Rows], columns: Columns, resize: Size | None, gray: bool
) -> tuple[Canvas, bool]:
    """What all images are placed on, and whether they all fill it.

    Raises:
        LimbeckError: for a mask of another size than its image.
    """
    sizes = set()
    for its in rows.values():
        both = (_opened(its, columns.image, "image"), _opened(its, columns.mask, "mask"))
        for image, mask in zip(*both, strict=True):
            size, other = size_of(*image), size_of(*mask)
            if size != other:
                raise LimbeckError(
                    f"{image[1]} has {size[0]} x {size[1]} pixels, and {mask[1]} "
                    f"{other[0]} x {other[1]}; they should have as many"
                )
            sizes.add(size)
    return Canvas.of(sizes, resize, gray)


def _names(names: str | Sequence[str], place: Path | None) -> tuple[str, ...]:
    """The names of the classes, from a file where one is named."""
    if not isinstance(names, str):
        return tuple(names)
    folder = Path() if place is None else place if place.is_dir() else place.parent
    file = folder / names
    if not file.is_file():
        raise LimbeckError(f"there is no file {str(file)!r} with names of classes, one on each line")
    return tuple(line.strip() for line in file.read_text().splitlines() if line.strip())


def _read(
    rows: Mapping[str, Rows], column: str, reader: MaskReader, canvas: Canvas, room: int
) -> dict[str, Tensor]:
    """The masks (N, H, W) uint8 of each split, on the canvas."""
    total = sum(len(its.dataset) for its in rows.values()) * canvas.height * canvas.width
    if total > room:
        raise LimbeckError(
            f"the masks take {total / 1e9:.1f} GB in memory, and there are {room / 1e9:.1f} GB for the data; "
            "take smaller images, resize=[height, width], or give it more, memory=..."
        )

    def classes(file: Path | io.BytesIO, what: str) -> Tensor:
        return torch.from_numpy(canvas.mask(reader(file, what), IGNORED).copy())

    found = {}
    for split, its in rows.items():
        maps = torch.empty(len(its.dataset), canvas.height, canvas.width, dtype=torch.uint8)
        jobs = (partial(classes, *mask) for mask in _opened(its, column, "mask"))
        for at, each in enumerate(in_order(jobs, WORKERS)):
            maps[at] = each
        found[split] = maps
    return found


def _width(maps: Mapping[str, Tensor]) -> int | None:
    """How many classes all splits show; None where no pixel has one."""
    known = [its[its != IGNORED] for its in maps.values()]
    return max((int(its.max()) + 1 for its in known if len(its)), default=None)


def _notes(task: Segmentation, targets: Tensor) -> Iterator[str]:
    """A sentence on classes that some names or larger ids stand for, and no pixel has."""
    counts = task.counts(targets)
    missing = [name for name, count in zip(task.names, counts, strict=True) if not count]
    if missing and any(counts):
        yield f"no training pixel has the {'class' if len(missing) == 1 else 'classes'} {listed(missing)}"
