"""Images of different sizes in memory, as networks are measured on that take any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from limbeck.data.storage.base import Samples, digest


@dataclass(frozen=True, eq=False, repr=False)
class Pictures(Samples):
    """Images (C, h, w) uint8, each of its own size, which networks are measured on one by one.

    Of several at once, each is at the upper left of a canvas of the largest, with black around it.

    Attributes:
        images: all of them, with as many channels each.
        scale: pixels of the target for one of the image, along a side.
        device: where batches are handed out.
    """

    images: Sequence[Tensor]
    scale: int
    device: torch.device | str = "cpu"

    def __len__(self) -> int:
        return len(self.images)

    def take(self, index: Tensor, view: Tensor) -> Tensor:
        """(B, C, H, W) uint8, as large as the largest of them."""
        chosen = [self.images[number] for number in index.tolist()]
        height, width = self._size(index)
        canvas = torch.zeros(len(chosen), len(chosen[0]), height, width, dtype=torch.uint8)
        for place, image in zip(canvas, chosen, strict=True):
            place[:, : image.shape[1], : image.shape[2]] = image
        return canvas.to(self.device)

    def cut(self, maps: Tensor, index: Tensor) -> Tensor:
        """The maps without what no image reaches."""
        height, width = self._size(index)
        return maps[..., : self.scale * height, : self.scale * width]

    def _size(self, index: Tensor) -> tuple[int, int]:
        shapes = [self.images[number].shape for number in index.tolist()]
        return max(shape[1] for shape in shapes), max(shape[2] for shape in shapes)

    def select(self, rows: Tensor) -> Pictures:
        """Some of the images, counted anew from 0."""
        return replace(self, images=[self.images[number] for number in rows.tolist()])

    def to(self, device: torch.device | str) -> Pictures:
        """The same images, handed out on another device."""
        return replace(self, device=device)

    @property
    def at_once(self) -> int:
        """One: beside a larger image a smaller one would be seen with black where it ends."""
        return 1

    @cached_property
    def fingerprint(self) -> str:
        """A digest of every byte and size."""
        return digest({f"{number:09d}": image for number, image in enumerate(self.images)})
