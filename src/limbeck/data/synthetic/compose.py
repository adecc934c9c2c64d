"""Composes images of numbers from scans of single digits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.data.synthetic.glyphs import Glyphs

SIDE = 32
"""Pixels a side of an image."""

GLYPH = {1: (28, 22), 2: (24, 16), 3: (17, 11), 4: (14, 9)}
"""Rows and columns of a glyph with its margin, by the number of digits in an image."""

SCALE, SLANT, DOWN, RIGHT = 0.15, 0.3, 2.0, 1.0
"""How far a glyph strays at most: in size, in columns a row, and in rows and columns of its place."""


def places(classes: int) -> int:
    """Digits that it takes to number so many classes from 0."""
    return len(str(classes - 1))


def compose(glyphs: Glyphs, labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Writes each label in digits side by side, leading zeros included.

    Args:
        glyphs: scans to draw from; every digit of every image is drawn anew.
        labels: (N,) int64 in [0, classes).
        classes: decides how many digits there are.
        generator: generator of the draws, on the CPU.
    Returns: (N, 1, 32, 32) uint8.
    """
    count = places(classes)
    shown = F.interpolate(glyphs.scans.float(), GLYPH[count], mode="bicubic", antialias=True).clamp(0, 255)
    order = glyphs.digits.argsort(stable=True)
    counts = glyphs.digits.bincount(minlength=10)
    first = counts.cumsum(0) - counts
    cell = SIDE // count
    images = torch.zeros(len(labels), 1, SIDE, SIDE, dtype=torch.uint8)
    for rows in torch.split(torch.arange(len(labels)), 4096):
        for place in range(count):
            digit = labels[rows] // 10 ** (count - 1 - place) % 10
            rank = (torch.rand(len(rows), generator=generator) * counts[digit]).long()
            tiles = _strayed(shown[order[first[digit] + rank]], cell, generator)
            left = (SIDE - count * cell) // 2 + place * cell
            images[rows, :, :, left : left + cell] = tiles.round().to(torch.uint8)
    return images


def _strayed(glyphs: Tensor, cell: int, generator: torch.Generator) -> Tensor:
    """Each glyph (N, 1, h, w) in a cell (N, 1, 32, cell): at its middle, but for how far it strays."""
    size, slant, down, right = 2 * torch.rand(4, len(glyphs), generator=generator) - 1
    zoom = 1 / (1 + SCALE * size)
    height, width = (extent / pixels for extent, pixels in zip((SIDE, cell), glyphs.shape[2:], strict=True))
    zero = torch.zeros_like(zoom)
    # For each place in the cell, from -1 to 1, where in the glyph to look, from -1 to 1.
    across = [width * zoom, SLANT * slant * SIDE / glyphs.shape[3], -2 * RIGHT * right / glyphs.shape[3]]
    along = [zero, height * zoom, -2 * DOWN * down / glyphs.shape[2]]
    look = torch.stack([torch.stack(across, 1), torch.stack(along, 1)], 1)
    grid = F.affine_grid(look, [len(glyphs), 1, SIDE, cell], align_corners=False)
    return F.grid_sample(glyphs, grid, mode="bilinear", align_corners=False)
