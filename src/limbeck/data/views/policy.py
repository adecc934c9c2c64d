"""What a policy of views is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs


class Views(ABC):
    """A policy. `str()` gives the text that `parse` reads."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many views of a sample there are, numbered from 0."""

    @property
    def base(self) -> int:
        """The number of the view that shows a sample as it is."""
        return 0

    def of_epoch(self, epoch: int) -> tuple[int, int]:
        """The views that an epoch draws among, the first and how many: all, unless they change with it."""
        return 0, self.count

    @abstractmethod
    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """Shows each sample in one of its views.

        Args:
            inputs: B samples as they are stored.
            index: (B,) int64 position of each in its data, for policies that differ from sample to sample.
            view: (B,) int64 number of the view to show, in [0, count).
        Returns: the same dtypes, on the same device; the same shapes, unless the policy says otherwise.
        """

    def render_target(self, targets: Tensor, index: Tensor, view: Tensor, *, ignored: int) -> Tensor:
        """Moves maps of targets, such as segmentation masks, as `render` moves the pixels of the same views.

        The targets themselves, unless a policy moves pixels.

        Args:
            targets: (B, H, W) int64 of the samples as they are stored.
            index: (B,) int64 as in `render`.
            view: (B,) int64 as in `render`.
            ignored: the target of a pixel that a view shows and that no stored pixel has become.
        Returns: (B, H, W) int64, on the same device, with the H and W that `render` gives.
        """
        return targets

    def render_boxes(
        self, boxes: Tensor, size: tuple[int, int], index: Tensor, view: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        """Moves boxes as `render` moves the pixels of the same views, and cuts off what is outside.

        The boxes themselves, unless a policy moves pixels.

        Args:
            boxes: (B, M, 4) x1, y1, x2, y2 in pixels of the samples as they are stored.
            size: height and width of those.
            index: (B,) int64 as in `render`.
            view: (B,) int64 as in `render`.
        Returns: the boxes (B, M, 4), without an area where nothing is left of one; and the size of the views.
        """
        return boxes, size


def within(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The part of boxes (B, M, 4) that is in an image of some height and width."""
    height, width = size
    return torch.stack([boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)], -1).flatten(-2)


def images_in(inputs: Inputs, views: Views) -> Tensor:
    """The inputs, which the views need to be images."""
    if not isinstance(inputs, Tensor) or inputs.ndim != 4:
        raise LimbeckError(f'the views "{views}" need images (N, channels, height, width)')
    return inputs


def maps_in(targets: Tensor, views: Views) -> Tensor:
    """The targets, which the views need to be maps of class ids."""
    if targets.ndim != 3 or targets.dtype != torch.int64:
        raise LimbeckError(
            f'the views "{views}" move maps of targets (N, height, width) int64, not'
            f" {tuple(targets.shape)} {str(targets.dtype).removeprefix('torch.')}"
        )
    return targets


def check_bank(name: str, count: int) -> None:
    """Refuses a number of seeds that is none."""
    if type(count) is not int or not 1 <= count <= 2**31:
        raise LimbeckError(f"{name} needs a count between 1 and {2**31}, not {count!r}")
