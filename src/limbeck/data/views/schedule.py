"""One policy after another, as the epochs go by."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from limbeck.data.views.policy import Views, images_in
from limbeck.errors import LimbeckError
from limbeck.notation import show
from limbeck.outputs import Inputs


@dataclass(frozen=True)
class Schedule(Views):
    """`schedule(policies=["crop(padding=2)", "crop + cutout"], starts=[0, 5])`: a policy from each epoch on.

    Its views are those of the first policy, then those of the second, and so on: a number says which policy
    and which of its views, so a view is the same in every epoch. An epoch draws among those of its policy.

    Args:
        policies: the policies, in their order.
        starts: the epochs, from 0, that they begin in.
    """

    policies: tuple[Views, ...]
    starts: tuple[int, ...]

    def __post_init__(self) -> None:
        rising = all(type(start) is int for start in self.starts) and all(
            earlier < later for earlier, later in pairwise(self.starts)
        )
        if not self.starts or self.starts[0] != 0 or not rising or len(self.starts) != len(self.policies):
            raise LimbeckError(
                "a schedule needs a start for each policy, epochs that rise from 0, such as starts=[0, 5]; "
                f"it has {len(self.policies)} policies and starts={list(self.starts)}"
            )
        if any(isinstance(policy, Schedule) for policy in self.policies):
            raise LimbeckError("a schedule has no schedule in it; list all policies with their starts")
        if self.count > 2**31:
            raise LimbeckError(
                f'the views "{self}" are too many, {self.count:,}; 2**31 is the most, so give smaller counts'
            )

    @property
    def count(self) -> int:
        """The sum of the policies' counts."""
        return sum(policy.count for policy in self.policies)

    @property
    def base(self) -> int:
        """The first policy's."""
        return self.policies[0].base

    @property
    def _firsts(self) -> list[int]:
        """The number of the first view of each policy."""
        return list(accumulate((policy.count for policy in self.policies[:-1]), initial=0))

    def of_epoch(self, epoch: int) -> tuple[int, int]:
        """The views of the policy that the epoch has."""
        number = bisect_right(self.starts, epoch) - 1
        return self._firsts[number], self.policies[number].count

    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """Each image's view by its policy; (B, C, H, W)."""

        def shown(policy: Views, images: Tensor, index: Tensor, view: Tensor) -> Tensor:
            return images_in(policy.render(images, index, view), self)

        return self._by_policy(images_in(inputs, self), index, view, shown)

    def render_target(self, targets: Tensor, index: Tensor, view: Tensor, *, ignored: int) -> Tensor:
        """Moves maps as the policy of each view does."""

        def moved(policy: Views, maps: Tensor, index: Tensor, view: Tensor) -> Tensor:
            return policy.render_target(maps, index, view, ignored=ignored)

        return self._by_policy(targets, index, view, moved)

    def render_boxes(
        self, boxes: Tensor, size: tuple[int, int], index: Tensor, view: Tensor
    ) -> tuple[Tensor, tuple[int, int]]:
        """Moves boxes as the policy of each view does."""
        shown = size

        def moved(policy: Views, some: Tensor, index: Tensor, view: Tensor) -> Tensor:
            nonlocal shown
            some, shown = policy.render_boxes(some, size, index, view)
            return some

        return self._by_policy(boxes, index, view, moved), shown

    def _by_policy(self, given: Tensor, index: Tensor, view: Tensor, change: Callable[..., Tensor]) -> Tensor:
        """What comes of samples that are changed together where they have one policy."""
        firsts = torch.tensor(self._firsts, device=view.device)
        whose = torch.bucketize(view, firsts, right=True) - 1
        counts = whose.bincount(minlength=len(self.policies)).tolist()  # fetched from the device, once
        order = whose.argsort(stable=True)
        groups = zip(self.policies, self._firsts, order.split_with_sizes(counts), strict=True)
        changed = [
            change(policy, given[rows], index[rows], view[rows] - first)
            for policy, first, rows in groups
            if len(rows)
        ]
        return torch.cat(changed)[order.argsort()]

    def __str__(self) -> str:
        return f"schedule(policies={show([*map(str, self.policies)])}, starts={show(self.starts)})"


def timed(policies: Sequence[Views], starts: Sequence[int]) -> Views:
    """A schedule in which a policy that goes on is said once; the policy itself where all are equal.

    Args:
        policies: one after the other.
        starts: the epoch that each begins in.
    """
    kept = [place for place in range(len(policies)) if place == 0 or policies[place] != policies[place - 1]]
    if len(kept) == 1:
        return policies[0]
    return Schedule(tuple(policies[place] for place in kept), tuple(starts[place] for place in kept))
