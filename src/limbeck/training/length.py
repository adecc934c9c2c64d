"""How long a loop is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from limbeck.errors import LimbeckError


@dataclass(frozen=True)
class Length:
    """Epochs of so many steps, of which a bound may cut the last one short.

    Attributes:
        per_epoch: steps of a whole epoch.
        total: steps of the loop.
    """

    per_epoch: int
    total: int

    @classmethod
    def of(cls, per_epoch: int, epochs: int, most: int | None = None) -> Length:
        """That of some epochs.

        Args:
            per_epoch: steps of a whole epoch.
            epochs: how many there are.
            most: the most steps that the loop may have; None for no bound.
        """
        total = per_epoch * epochs
        return cls(per_epoch, total if most is None else min(total, most))

    @property
    def epochs(self) -> int:
        """How many epochs begin."""
        return math.ceil(self.total / self.per_epoch)

    @property
    def in_epochs(self) -> float:
        """The same with the part of the last one that is done."""
        whole, rest = divmod(self.total, self.per_epoch)
        return self.total / self.per_epoch if rest else whole

    def steps(self, epoch: int) -> int:
        """Steps of an epoch, counted from 0."""
        return min(self.per_epoch, self.total - epoch * self.per_epoch)


def steps_of(batches: Iterable[object]) -> int:
    """How many steps an epoch of these batches has.

    Raises:
        LimbeckError: for a loader without a length, and for an empty one.
    """
    try:
        steps = len(batches)  # type: ignore[arg-type]
    except TypeError:
        raise LimbeckError(
            "a loader must have a length; make a generator a list, or load a map-style data set"
        ) from None
    if steps == 0:
        raise LimbeckError("the loader is empty; there is nothing to train on")
    return steps
