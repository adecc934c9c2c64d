"""Views: a finite, numbered set of ways to show a sample.

What a view shows is a function of (policy, index, view) alone. A run's seed only picks which view is
drawn, from (seed, index, epoch), so a view can be made again in any order, by any process, and by a run
with another seed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.data.construct import construct
from limbeck.data.hashing import mix
from limbeck.errors import LimbeckError
from limbeck.notation import parse_call
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

    @abstractmethod
    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """Shows each sample in one of its views.

        Args:
            inputs: B samples as they are stored.
            index: (B,) int64 position of each in its data, for policies that differ from sample to sample.
            view: (B,) int64 number of the view to show, in [0, count).
        Returns: the same shapes and dtypes, on the same device.
        """


@dataclass(frozen=True)
class Unchanged(Views):
    """`none`: every sample as it is stored, in its one view."""

    count = 1

    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """The inputs themselves."""
        return inputs

    def __str__(self) -> str:
        return "none"


@dataclass(frozen=True)
class Crop(Views):
    """`crop(padding=4, flip=false)`: a window of the zero-padded image, of the image's own size.

    With s = 2 * padding + 1 places in each direction, view (flip * s + down) * s + right shows the window
    whose upper left corner lies `down` rows and `right` columns into the padded image, mirrored left to
    right where flip is 1. So there are s * s views, or twice as many with `flip`, and `base` is down =
    right = padding: a padding of 4 has 81, or 162, and base 40.

    Args:
        padding: rows and columns of zeros added on each side.
        flip: whether the mirrored windows are views too.
    """

    padding: int = 4
    flip: bool = False

    def __post_init__(self) -> None:
        if type(self.padding) is not int or self.padding < 0:
            raise LimbeckError(f"crop needs a padding of whole pixels, at least 0, not {self.padding!r}")
        if type(self.flip) is not bool:
            raise LimbeckError(f"crop needs flip=true or flip=false, not {self.flip!r}")

    @property
    def count(self) -> int:
        """How many windows there are."""
        return (2 * self.padding + 1) ** 2 * (1 + self.flip)

    @property
    def base(self) -> int:
        """The window in the middle."""
        return (2 * self.padding + 1) * self.padding + self.padding

    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """Cuts each image's window out; (B, C, H, W) of any dtype."""
        if not isinstance(inputs, Tensor) or inputs.ndim != 4:
            raise LimbeckError(f'the views "{self}" need images (N, channels, height, width)')
        height, width = inputs.shape[2:]
        stride, side = width + 2 * self.padding, 2 * self.padding + 1
        column = torch.arange(width, device=inputs.device)
        row = stride * torch.arange(height, device=inputs.device)[:, None]
        window = torch.stack([row + column, row + column.flip(0)]).flatten(1)  # as it is, mirrored
        corner = view // side % side * stride + view % side
        position = window[view // side**2] + corner[:, None]
        padded = F.pad(inputs, [self.padding] * 4).flatten(2)
        return padded.gather(2, position[:, None].expand(-1, inputs.shape[1], -1)).view_as(inputs)

    def __str__(self) -> str:
        return f"crop(padding={self.padding}{', flip=true' if self.flip else ''})"


@dataclass(frozen=True)
class Bank(Views):
    """`bank(count=2147483648)`: the random transforms of a user's own data set, numbered by their seed.

    The data set draws at random each time it is asked for an item; limbeck seeds the draw from (index,
    view). A smaller count makes views come back, so that a cache of teacher outputs fills.

    Args:
        count: how many seeds there are for each sample.
    """

    count: int = 2**31

    def __post_init__(self) -> None:
        if type(self.count) is not int or not 1 <= self.count <= 2**31:
            raise LimbeckError(f"bank needs a count between 1 and {2**31}, not {self.count!r}")

    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """The inputs themselves: the data set has transformed them."""
        return inputs

    def __str__(self) -> str:
        return f"bank(count={self.count})"


VIEWS: Mapping[str, Callable[..., Views]] = {"none": Unchanged, "crop": Crop, "bank": Bank}


def parse(text: str) -> Views:
    """Reads a policy, for example `"crop(padding=4, flip=true)"`.

    Raises:
        LimbeckError: naming what is unknown or out of range, and the nearest right name.
    """
    return construct(parse_call(text, "views"), VIEWS, "views")


def draw(seed: int, index: Tensor, epoch: int, count: int, stream: int = 0) -> Tensor:
    """Draws a view of each sample: a pure function of its arguments, uniform and independent in each.

    A hash of 63 bits is taken modulo `count`, so no view is more likely than another by more than a
    factor of 1 + count / 2**63.

    Args:
        seed: of the views.
        index: (B,) int64 positions of the samples.
        epoch: counted from 0.
        count: how many views there are.
        stream: 0 for the view that every network sees; another for each further view of the same samples.
    Returns: (B,) int64 in [0, count).
    """
    return (mix(seed, stream, epoch, index) & 2**63 - 1) % count
