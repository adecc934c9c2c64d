"""Views: a finite, numbered set of ways to show a sample.

The pixels and the targets of a view are a function of (policy, index, view) alone. A run's seed only picks
which view is drawn, from (seed, index, epoch), so a view can be made again in any order, by any process, and
by a run with another seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from limbeck import notation
from limbeck.data.registry import construct
from limbeck.data.views.color_jitter import ColorJitter
from limbeck.data.views.crop import Crop
from limbeck.data.views.cutout import Cutout
from limbeck.data.views.patch import Patch
from limbeck.data.views.policy import Views, check_bank
from limbeck.data.views.randaugment import RandAugment
from limbeck.data.views.scaled_crop import ScaledCrop
from limbeck.data.views.schedule import Schedule
from limbeck.errors import LimbeckError
from limbeck.hashing import below
from limbeck.outputs import Inputs

__all__ = [
    "VIEWS",
    "Bank",
    "Composed",
    "Crop",
    "Patch",
    "ScaledCrop",
    "Schedule",
    "Unchanged",
    "Views",
    "draw",
    "parse",
]


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
class Bank(Views):
    """`bank(count=2147483648)`: the random transforms of a user's own data set, numbered by their seed.

    The data set draws at random each time it is asked for an item; limbeck seeds the draw from (index,
    view). A smaller count makes views come back, so that a cache of teacher outputs fills.

    Args:
        count: how many seeds there are for each sample.
    """

    count: int = 2**31

    def __post_init__(self) -> None:
        check_bank("bank", self.count)

    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """The inputs themselves: the data set has transformed them."""
        return inputs

    def render_target(self, targets: Tensor, index: Tensor, view: Tensor, *, ignored: int) -> Tensor:
        """Refuses: whether the data set's transforms move pixels, and where to, is not known."""
        raise self._refused()

    def render_boxes(
        self, boxes: Tensor, size: tuple[int, int], index: Tensor, view: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        """Refuses, as for maps."""
        raise self._refused()

    def _refused(self) -> LimbeckError:
        return LimbeckError(
            f'the views "{self}" are random transforms of the data set itself, which may move pixels away'
            " from their targets; take them out of the data set and name a policy, for example"
            ' views="crop(padding=4, flip=true)"'
        )

    def __str__(self) -> str:
        return f"bank(count={self.count})"


@dataclass(frozen=True)
class Composed(Views):
    """`crop(flip=true) + cutout`: one policy on top of the other, in this order.

    There is a view for every choice of views of the parts. It is numbered like digits are: the number of the
    last part counts the ones.
    """

    parts: tuple[Views, ...]

    def __post_init__(self) -> None:
        if any(isinstance(part, Schedule) for part in self.parts):
            raise LimbeckError("a schedule is no part of a sum; write the sums inside it, in its policies")
        if self.count > 2**31:
            counts = " x ".join(f"{part.count:,}" for part in self.parts)
            raise LimbeckError(
                f'the views "{self}" are too many, {counts}; 2**31 is the most, so give a smaller count=...'
            )

    @property
    def count(self) -> int:
        """The product of the parts' counts."""
        return math.prod(part.count for part in self.parts)

    @property
    def base(self) -> int:
        """The view that shows the base of every part."""
        number = 0
        for part in self.parts:
            number = number * part.count + part.base
        return number

    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """Each part's view of what the part before it shows."""
        left = self.count
        for part in self.parts:
            left //= part.count
            inputs = part.render(inputs, index, view // left % part.count)
        return inputs

    def render_target(self, targets: Tensor, index: Tensor, view: Tensor, *, ignored: int) -> Tensor:
        """Moves maps as each part moves what the part before it shows."""
        left = self.count
        for part in self.parts:
            left //= part.count
            targets = part.render_target(targets, index, view // left % part.count, ignored=ignored)
        return targets

    def render_boxes(
        self, boxes: Tensor, size: tuple[int, int], index: Tensor, view: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        """Moves boxes as each part moves what the part before it shows."""
        left = self.count
        for part in self.parts:
            left //= part.count
            boxes, size = part.render_boxes(boxes, size, index, view // left % part.count)
        return boxes, size

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts))


def _schedule(policies: list[str], starts: list[int]) -> Schedule:
    return Schedule(tuple(map(parse, policies)), tuple(starts))


VIEWS: Mapping[str, Callable[..., Views]] = {
    "none": Unchanged,
    "crop": Crop,
    "scaled_crop": ScaledCrop,
    "patch": Patch,
    "cutout": Cutout,
    "color_jitter": ColorJitter,
    "randaugment": RandAugment,
    "bank": Bank,
    "schedule": _schedule,
}


def parse(text: str) -> Views:
    """Reads a policy, for example `"crop(padding=4, flip=true) + cutout(size=16)"`.

    Raises:
        LimbeckError: naming what is unknown or out of range, and the nearest right name.
    """
    terms = notation.parse(text, "views").terms
    if any(weight != 1 for weight, _ in terms):
        raise LimbeckError(f"views {text!r}: a policy has no weight")
    parts = tuple(construct(call, VIEWS, "views") for _, call in terms)
    return parts[0] if len(parts) == 1 else Composed(parts)


def draw(seed: int, index: Tensor, epoch: int | Tensor, count: int, stream: int = 0) -> Tensor:
    """Draws a view of each sample: a pure function of its arguments, uniform and independent in each.

    A hash of 63 bits is taken modulo `count`, so no view is more likely than another by more than a
    factor of 1 + count / 2**63.

    Args:
        seed: random seed of the views.
        index: (B,) int64 positions of the samples.
        epoch: counted from 0; one for all, or (B,) int64.
        count: how many views there are.
        stream: 0 for the view that every network sees; another for each further view of the same samples.
    Returns: (B,) int64 in [0, count).
    """
    return below(count, seed, stream, epoch, index)
