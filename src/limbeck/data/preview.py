"""A contact sheet: some training images of every class on one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from limbeck.data.lettering import Font, font_for
from limbeck.data.source import Source
from limbeck.data.split import pick
from limbeck.errors import LimbeckError
from limbeck.files import replacing
from limbeck.outputs import UNLABELED

GAP, LABEL, TEXT = 4, 20, 14
"""Pixels between images, for a line of text, and of its letters."""

PAPER, INK, FAINT = (250, 250, 248), (30, 30, 30), (110, 110, 110)


def contact_sheet(source: Source, count: int = 5, seed: int = 0) -> Image.Image:
    """Shows training images class by class, each class with its name over them.

    Args:
        source: source of images with one or three channels.
        count: images of each class; fewer where there are fewer.
        seed: random seed of the draw.
    Raises:
        LimbeckError: for data of another kind or task.
    Returns: an RGB picture, about as wide as high; images under 64 pixels a side are enlarged to that. Where
        no font of this machine has the letters of a class's name, its number stands there (`unlettered`).
    """
    if source.kind != "image" or source.train.targets.ndim != 1 or source.task.scores != "classes":
        what = f"is for {source.task.name}" if source.kind == "image" else f"has none ({source.kind})"
        raise LimbeckError(
            f"a preview shows images of each class, and {source.name} {what}; take a data set of images with "
            "one class each"
        )
    labels = source.train.targets.where(source.train.targets != UNLABELED, len(source.task.names))
    names = [*source.task.names, "no label"]
    rows = pick(labels, torch.full((len(names),), count), seed)
    images = _pixels(source, rows)
    shown = {label: images[labels[rows] == label] for label in range(len(names))}
    if not len(shown[len(source.task.names)]):
        del shown[len(source.task.names)]

    height, width = images.shape[1:3]
    zoom = max(1, 64 // max(height, width))
    across, down = count * (width * zoom + GAP) + 2 * GAP, height * zoom + LABEL + 2 * GAP
    columns = max(1, round(math.sqrt(len(shown) * down / across)))
    lines = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * across + GAP, (lines * down) + LABEL + 2 * GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    title = f"{source.name}: training images"
    draw.text((2 * GAP, GAP), title, FAINT, font_for(title, TEXT) or font)
    for place, (label, of_class) in enumerate(shown.items()):
        left, top = place % columns * across + 2 * GAP, place // columns * down + LABEL + 2 * GAP
        own = font_for(names[label], TEXT)
        name = names[label] if own else f"class {label}"
        draw.text((left, top), _fitted(name, own or font, across - 2 * GAP), INK, own or font)
        for number, image in enumerate(of_class):
            picture = Image.fromarray(image.numpy()).resize(
                (width * zoom, height * zoom), Image.Resampling.NEAREST
            )
            sheet.paste(picture, (left + number * (width * zoom + GAP), top + LABEL))
    return sheet


def unlettered(names: Sequence[str]) -> list[str]:
    """The names that a sheet cannot show, for want of a font."""
    return [name for name in names if font_for(name, TEXT) is None]


def write_png(picture: Image.Image, path: Path) -> None:
    """Writes a picture, whole or not at all."""
    if path.suffix.lower() != ".png":
        raise LimbeckError(f"the picture is a PNG file, so its name should end in .png, not {path.name!r}")
    with replacing(path) as partial:
        picture.save(partial, "PNG")


def _pixels(source: Source, rows: Tensor) -> Tensor:
    """Some training images as they are, (N, height, width, 3) uint8."""
    index = source.train.index[rows]
    images = source.train.samples.render(source.views, index, torch.full_like(index, source.views.base))
    if not isinstance(images, Tensor) or images.shape[1] not in (1, 3):
        raise LimbeckError(f"a preview shows images of one or three channels, and {source.name} has others")
    return (255 * images).round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)


def _fitted(name: str, font: Font, width: int) -> str:
    """The name, cut short where it is too long."""
    if font.getlength(name) <= width:
        return name
    while name and font.getlength(name + "...") > width:
        name = name[:-1]
    return name + "..."
