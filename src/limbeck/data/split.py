"""Splits: samples with their targets, and the drawing of some of each class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.data.storage.base import Samples
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED

ABSENT = -1
"""In targets by position, a position at which a split has no sample."""


@dataclass(frozen=True, eq=False)
class Split:
    """Some samples and their targets.

    Attributes:
        samples: where the inputs lie.
        targets: (N,) int64 class ids, `UNLABELED` where a sample has none.
        index: (N,) int64 position of each in `samples`. A part of a split keeps the positions of the whole,
            so that a memory or a cache by position serves both.
    """

    samples: Samples
    targets: Tensor
    index: Tensor

    @classmethod
    def whole(cls, samples: Samples, targets: Tensor) -> Split:
        """All samples, in order."""
        return cls(samples, targets, torch.arange(len(targets), device=targets.device))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def positions(self) -> int:
        """How many positions `index` counts among: the rows of a memory that has one for each sample."""
        return len(self.samples)

    @property
    def targets_by_position(self) -> Tensor:
        """(positions,) int64 target of the sample at each position, `ABSENT` where this split has none."""
        return self.targets.new_full((self.positions,), ABSENT).index_copy(0, self.index, self.targets)

    @property
    def has_labels(self) -> bool:
        """Whether any sample has a label."""
        return bool((self.targets != UNLABELED).any())

    def class_counts(self, num_classes: int) -> Tensor:
        """(num_classes,) int64 number of labeled samples of each class."""
        return self.targets[self.targets != UNLABELED].bincount(minlength=num_classes)

    def labeled(self) -> Split:
        """The samples that have a label."""
        if not self.has_labels:
            raise LimbeckError("no sample of this split has a label")
        return self.select((self.targets != UNLABELED).nonzero().flatten())

    def select(self, rows: Tensor) -> Split:
        """Some samples; `rows` (M,) counts within this split, `index` keeps counting in `samples`."""
        return Split(self.samples, self.targets[rows], self.index[rows])

    def to(self, device: torch.device | str) -> Split:
        """The split with all its tensors on another device."""
        return Split(self.samples.to(device), self.targets.to(device), self.index.to(device))


def pick(targets: Tensor, per_class: Tensor, seed: int) -> Tensor:
    """Draws some samples of each class at random.

    Args:
        targets: (N,) int64 class ids.
        per_class: (C,) int64 how many to draw of each.
        seed: of the draw.
    Returns: sorted positions, (sum of per_class,) on the CPU.
    """
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    shuffled = targets.cpu()[order]
    picked = torch.zeros(len(targets), dtype=torch.bool)
    for label, count in enumerate(per_class.tolist()):
        picked[order[shuffled == label][:count]] = True
    return picked.nonzero().flatten()


def stratified(targets: Tensor, size: int, seed: int) -> Tensor:
    """Draws `size` labeled samples, each class in proportion by largest remainders: sorted positions."""
    counts = targets[targets != UNLABELED].cpu().bincount()
    share, remainder = counts * size // counts.sum(), counts * size % counts.sum()
    share[remainder.argsort(descending=True, stable=True)[: size - int(share.sum())]] += 1
    return pick(targets, share, seed)


def keep_labels(targets: Tensor, labeled: int, seed: int) -> Tensor:
    """The targets (N,) with all but `labeled` labels taken off, each class in proportion."""
    kept = stratified(targets, labeled, seed)
    hidden = torch.full_like(targets, UNLABELED)
    hidden[kept] = targets[kept]
    return hidden


def held_out(targets: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """Parts training data in two, always in the same way: the positions kept, and those held out.

    Each class gives `fraction` of its labeled samples: at least one, and never its only one. Samples
    without a label are kept.
    """
    counts = targets[targets != UNLABELED].cpu().bincount()
    wanted = (counts * fraction).round().long().clamp(min=1).minimum((counts - 1).clamp(min=0))
    held = pick(targets, wanted, seed=0)
    kept = torch.ones(len(targets), dtype=torch.bool)
    kept[held] = False
    return kept.nonzero().flatten(), held
