"""Images with smaller ones to restore them from, for super-resolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from limbeck.arguments import Count
from limbeck.data.build import assemble
from limbeck.data.files.decoding import Decoder
from limbeck.data.files.discover import find, is_split, splits_in
from limbeck.data.files.images import Held
from limbeck.data.files.mask_pairs import below
from limbeck.data.files.rows import portions
from limbeck.data.memory import budget
from limbeck.data.prefetch import in_order
from limbeck.data.registry import written
from limbeck.data.source import PIXELS, Source
from limbeck.data.split import Split, copies
from limbeck.data.storage.base import Resident, digests
from limbeck.data.storage.pictures import Pictures
from limbeck.data.storage.streamed import WORKERS
from limbeck.data.views import Patch
from limbeck.errors import LimbeckError
from limbeck.tasks import Restoration
from limbeck.tasks.restoration.bicubic import resized_bicubic

HIGH, LOW = "high", "low"
"""The folders of given pairs."""


class Pair(NamedTuple):
    """An image (C, scale * h, scale * w) and the one (C, h, w) that it is restored from, both uint8."""

    high: Tensor
    low: Tensor


def from_restoration(
    path: str = "",
    scale: Count = 2,
    size: Count = 48,
    gray: bool = False,
    train: str = "train",
    test: str = "test",
    validation: Held = 0.1,
    memory: str = "auto",
    data_dir: Path | None = None,
) -> Source:
    """Images and the smaller ones that they are restored from, for super-resolution.

    Inputs are made by bicubic down-scaling as papers have it, that of Matlab's `imresize`, of images that are
    cut to a multiple of `scale`; or they are given. Training takes windows of the inputs, turned and
    mirrored, with the windows of the targets that belong to them. Networks are measured on whole images, one
    by one, each of its own size. All images are in memory.

    Args:
        path: a directory with images, or with folders of them for training, `val` and test; a tenth of the
            training images is held out where one is missing. A folder that has folders `high` and `low`
            in it holds pairs of images with the same names.
        scale: pixels of a target for one of the input, along a side; 1 is for given pairs alone.
        size: pixels of the inputs that training sees, a side of a square.
        gray: one channel, (N, 1, H, W).
        train: what the folder of the training images is called.
        test: what the folder is called that final figures are measured on.
        validation: the share that is held out of the training split where there is no validation split.
        memory: what decoded images may take, such as "4 GiB"; half of the free memory by default.
        data_dir: the directory that `path` is in; `--data-dir` on the command line.
    """
    given = {
        "path": path,
        "scale": scale,
        "size": size,
        "gray": gray,
        "train": train,
        "test": test,
        "validation": validation,
    }
    place = find(path, data_dir)
    if place is None or not place.is_dir():
        raise LimbeckError(f"there is no directory {path!r} with images in it")
    room = budget(memory)
    found = {
        split: _pairs(folder, scale, Decoder(gray), room) for split, folder in _splits(place, train, test)
    }
    contents = {split: [digests(pair.high[None])[0] for pair in pairs] for split, pairs in found.items()}
    strata = {split: torch.zeros(len(pairs), dtype=torch.int64) for split, pairs in found.items()}
    made = portions(strata, 0.1, validation, copies(contents["train"]))
    parts = {split: [found[of][row] for row in rows.tolist()] for split, (of, rows) in made.items()}
    side = _tile(parts["train"], size)
    source = assemble(
        _tiles(parts["train"], scale, side, room),
        _whole(parts["validation"], scale) if "validation" in parts else None,
        _whole(parts["test"], scale) if "test" in parts else None,
        names=None,
        views=Patch(size, size, scale),
        kind="image",
        name=written("restoration", from_restoration, given),
        contents={split: [contents[of][row] for row in rows.tolist()] for split, (of, rows) in made.items()},
    )
    kind = "gray" if gray else "RGB"
    how = "" if scale == 1 else f", of images {scale} times as large"
    return replace(source, preparation=f"{PIXELS} of {kind} images, turned as their EXIF says{how}")


def _splits(place: Path, train: str, test: str) -> Iterator[tuple[str, Path]]:
    """The folder of each split; the directory itself where it has no folders of splits."""
    there = [child.name for child in sorted(place.iterdir()) if child.is_dir()]
    names = ["train" if name == train else name for name in there if is_split(name, test) or name == train]
    if train not in there:
        if train != "train" or names:
            raise LimbeckError(f"{str(place)!r} has no folder {train!r} of training images")
        yield "train", place
        return
    for split, name in splits_in(names, repr(str(place)), test).items():
        yield split, place / (train if split == "train" else name)


def _pairs(folder: Path, scale: int, decoder: Decoder, room: int) -> list[Pair]:
    """The images of a folder with their inputs, in the order of their names.

    Raises:
        LimbeckError: if there are none, one has no partner or one of the wrong size, or the memory is small.
    """
    high, low = folder / HIGH, folder / LOW
    if high.is_dir() != low.is_dir():
        there, missing = (high, low) if high.is_dir() else (low, high)
        raise LimbeckError(f"there is a folder {str(there)!r} and no {str(missing)!r}; pairs need both")
    files = dict(below(high if high.is_dir() else folder))
    if not files:
        raise LimbeckError(f"the folder {str(high if high.is_dir() else folder)!r} holds no images")
    if not low.is_dir():
        if scale == 1:
            raise LimbeckError(
                "with scale=1 inputs are as large as targets, and nothing says how to make them; "
                f"{str(folder)!r} should have folders high and low with pairs"
            )
        jobs = [partial(_shrunk, file, scale, decoder) for file in files.values()]
    else:
        partners = dict(below(low))
        for name, file in files.items():
            if name not in partners:
                raise LimbeckError(
                    f"the image {str(file)!r} has no partner {str(low / name) + file.suffix!r}"
                )
        if alone := next((file for name, file in partners.items() if name not in files), None):
            raise LimbeckError(f"the image {str(alone)!r} has no partner in {str(high)!r}")
        jobs = [partial(_given, file, partners[name], scale, decoder) for name, file in files.items()]
    pairs, taken = [], 0
    for pair in in_order(iter(jobs), WORKERS):
        pairs.append(pair)
        taken += 3 * pair.high.nbytes + pair.low.nbytes  # the target as levels of 16 bits, and as it is read
        if taken > room:
            raise LimbeckError(
                f"the images in {str(folder)!r} take more memory than the {room / 1e9:.1f} GB that there are "
                "for the data; take fewer, or give it more, memory=..."
            )
    return pairs


def _shrunk(file: Path, scale: int, decoder: Decoder) -> Pair:
    """An image cut to a multiple of the scale, and its input."""
    image = torch.from_numpy(_decoded(file, decoder))
    height, width = image.shape[1] // scale, image.shape[2] // scale
    if not height or not width:
        raise LimbeckError(f"the image {str(file)!r} is smaller than {scale} x {scale} pixels")
    high = image[:, : scale * height, : scale * width].contiguous()
    return Pair(high, resized_bicubic(high, height, width))


def _given(file: Path, partner: Path, scale: int, decoder: Decoder) -> Pair:
    """An image and the input that is given with it."""
    high, low = (torch.from_numpy(_decoded(each, decoder)) for each in (file, partner))
    if high.shape[1:] != (scale * low.shape[1], scale * low.shape[2]):
        raise LimbeckError(
            f"the image {str(file)!r} has {high.shape[1]} x {high.shape[2]} pixels, and {str(partner)!r} "
            f"{low.shape[1]} x {low.shape[2]}; it should be {scale} times as high and wide, by scale={scale}"
        )
    return Pair(high, low)


def _decoded(file: Path, decoder: Decoder) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(decoder(str(file), Path(), repr(str(file))))


def _tile(pairs: Sequence[Pair], size: int) -> int:
    """Pixels a side of the parts that training images are stored in: twice the windows', where some have as
    many."""
    longest = max(max(pair.low.shape[1:]) for pair in pairs)
    return max(size, min(2 * size, longest))


def _tiles(pairs: Sequence[Pair], scale: int, side: int, room: int) -> Split:
    """The training images in parts of one size, which cover them and overlap where they must.

    An image that is smaller has black around it at the right and at the bottom, which does not count.
    """
    corners = [
        (pair, row, column)
        for pair in pairs
        for row in _starts(pair.low.shape[1], side)
        for column in _starts(pair.low.shape[2], side)
    ]
    channels = len(pairs[0].low)
    needed = len(corners) * channels * side * side * (1 + 2 * scale * scale)
    if needed > room:
        raise LimbeckError(
            f"the training images take {needed / 1e9:.1f} GB in memory, and there are {room / 1e9:.1f} GB "
            "for the data; take fewer, or give it more, memory=..."
        )
    inputs = torch.zeros(len(corners), channels, side, side, dtype=torch.uint8)
    targets = torch.full(
        (len(corners), channels, scale * side, scale * side), Restoration.ignored, dtype=torch.int16
    )
    for at, (pair, row, column) in enumerate(corners):
        low = pair.low[:, row : row + side, column : column + side]
        high = pair.high[:, scale * row : scale * (row + side), scale * column : scale * (column + side)]
        inputs[at, :, : low.shape[1], : low.shape[2]] = low
        targets[at, :, : high.shape[1], : high.shape[2]] = high
    return Split.whole(Resident(inputs), targets, Restoration)


def _starts(length: int, side: int) -> list[int]:
    """Where parts of a line begin that cover it."""
    count = -(-length // side)
    return [(length - side) * number // max(1, count - 1) for number in range(count)] if count > 1 else [0]


def _whole(pairs: Sequence[Pair], scale: int) -> Split:
    """Images as they are, with targets on a canvas of the largest."""
    height, width = (max(pair.high.shape[axis] for pair in pairs) for axis in (1, 2))
    targets = torch.full(
        (len(pairs), len(pairs[0].high), height, width), Restoration.ignored, dtype=torch.int16
    )
    for canvas, pair in zip(targets, pairs, strict=True):
        canvas[:, : pair.high.shape[1], : pair.high.shape[2]] = pair.high
    return Split.whole(Pictures([pair.low for pair in pairs], scale), targets, Restoration)
