"""Splits: samples with their targets, and the drawing of some of each stratum."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from limbeck.data.storage.base import Samples
from limbeck.data_facts import DataFacts
from limbeck.errors import LimbeckError
from limbeck.outputs import ABSENT, UNLABELED
from limbeck.tasks import Classification, Task


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Some samples and their targets.

    Attributes:
        samples: where the inputs lie.
        targets: (N, ...) as the task has them: (N,) int64 class ids, `UNLABELED` where a sample has none.
        index: (N,) int64 position of each in `samples`. A part of a split keeps the positions of the whole,
            so that a memory or a cache by position serves both.
            It may name a sample several times, such as a document of several queries.
        task: what the targets are.
        together: how many samples in a row belong together, in every batch that is trained on: the length of
            the split is a multiple of it.
        judgments: (J, 3) int64 what a retrieval split knows of pairs: query, document and grade.
        weights: (N,) float32 how much each sample counts in training; None where all count alike.
    """

    samples: Samples
    targets: Tensor
    index: Tensor
    task: type[Task] = Classification
    together: int = 1
    judgments: Tensor | None = None
    weights: Tensor | None = None

    @classmethod
    def whole(
        cls,
        samples: Samples,
        targets: Tensor,
        task: type[Task] = Classification,
        weights: Tensor | None = None,
    ) -> Split:
        """All samples, in order."""
        index = torch.arange(len(targets), device=targets.device)
        return cls(samples, targets, index, task, weights=weights)

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        labeled = int(self.task.labeled(self.targets).sum())
        return f"<Split of {len(self):,} samples, {labeled:,} with a label: {self.task.name}>"

    @property
    def positions(self) -> int:
        """How many positions `index` counts among: the rows of a memory that has one for each sample."""
        return len(self.samples)

    @property
    def targets_by_position(self) -> Tensor:
        """(positions, ...) target of the sample at each position, `ABSENT` where this split has none; of maps
        the target of a pixel that does not count."""
        fill = self.task.ignored if self.task.spatial else ABSENT
        absent = self.targets.new_full((self.positions, *self.targets.shape[1:]), fill)
        return absent.index_copy(0, self.index, self.targets)

    @property
    def has_labels(self) -> bool:
        """Whether any sample has a label."""
        return bool(self.task.labeled(self.targets).any())

    @property
    def range_of_weights(self) -> tuple[float, float] | None:
        """The smallest and the largest weight of a sample; None where all count alike."""
        if self.weights is None:
            return None
        return float(self.weights.min()), float(self.weights.max())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What the split says of its samples, by name."""
        further = {"judgments": self.judgments, "weights": self.weights}
        known = {name: tensor for name, tensor in further.items() if tensor is not None}
        return {"targets": self.targets, "index": self.index, **known}

    def labeled(self) -> Split:
        """The samples that have a label."""
        if not self.has_labels:
            raise LimbeckError(
                "no training sample has a label to learn from; give labels, or learn from a teacher alone "
                "with an objective that needs none, such as kd"
            )
        return self.select(self.task.labeled(self.targets).nonzero().flatten())

    def data_facts(self) -> DataFacts:
        """What a method may know of the split."""
        return DataFacts(self.positions, targets=self.targets_by_position)

    def select(self, rows: Tensor) -> Split:
        """Some samples; `rows` (M,) counts within this split, `index` keeps counting in `samples`.

        Of samples that belong together, all should be chosen or none.
        """
        weights = None if self.weights is None else self.weights[rows]
        return replace(self, targets=self.targets[rows], index=self.index[rows], weights=weights)

    def to(self, device: torch.device | str) -> Split:
        """The split with all its tensors on another device."""
        return replace(
            self,
            samples=self.samples.to(device),
            targets=self.targets.to(device),
            index=self.index.to(device),
            weights=None if self.weights is None else self.weights.to(device),
        )


def pick(strata: Tensor, counts: Tensor, seed: int) -> Tensor:
    """Draws some samples of each stratum, such as a class, at random.

    Args:
        strata: (N,) int64 from 0, `UNLABELED` for what is never drawn.
        counts: (S,) int64 how many to draw of each.
        seed: random seed of the draw.
    Returns: sorted positions, (sum of counts,) on the CPU.
    """
    order = torch.randperm(len(strata), generator=torch.Generator().manual_seed(seed))
    shuffled = strata.cpu()[order]
    picked = torch.zeros(len(strata), dtype=torch.bool)
    for label, count in enumerate(counts.tolist()):
        picked[order[shuffled == label][:count]] = True
    return picked.nonzero().flatten()


def stratified(strata: Tensor, size: int, seed: int) -> Tensor:
    """Draws `size` labeled samples, each stratum in proportion by largest remainders: sorted positions.

    Args:
        strata: (N,) int64, such as class ids; see `limbeck.tasks.Task.strata`.
        size: number of samples to draw.
        seed: random seed of the draw.
    """
    counts = strata[strata != UNLABELED].cpu().bincount()
    share, remainder = counts * size // counts.sum(), counts * size % counts.sum()
    share[remainder.argsort(descending=True, stable=True)[: size - int(share.sum())]] += 1
    return pick(strata, share, seed)


def keep_labels(targets: Tensor, labeled: int, seed: int, task: type[Task] = Classification) -> Tensor:
    """The targets (N, ...) without any label but those of `labeled` samples, each stratum in proportion."""
    kept = stratified(task.strata(targets), labeled, seed)
    hidden = torch.full_like(targets, torch.nan if targets.is_floating_point() else task.ignored)
    hidden[kept] = targets[kept]
    return hidden


def held_out(strata: Tensor, fraction: float, groups: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Parts training data in two, always in the same way: the positions kept, and those held out.

    Each stratum gives `fraction` of its samples: at least one, and never its only one. Samples without a
    label are kept.

    Copies of one sample count once and are never parted. A copy without a label of a sample that is held out
    is in neither part.

    Args:
        strata: (N,) int64, see `limbeck.tasks.Task.strata`.
        fraction: in (0, 1).
        groups: (N,) int64 from 0, equal for copies of one sample; None if no sample has a copy.
    """
    strata = strata.cpu()
    once = strata if groups is None else _first_of_each(strata, groups)
    counts = once[once != UNLABELED].bincount()
    wanted = (counts * fraction).round().long().clamp(min=1).minimum((counts - 1).clamp(min=0))
    drawn = pick(once, wanted, seed=0)
    held = torch.zeros(len(strata), dtype=torch.bool)
    held[drawn] = True
    if groups is not None:
        held = torch.isin(groups, groups[drawn])
    return held.logical_not().nonzero().flatten(), (held & (strata != UNLABELED)).nonzero().flatten()


def _first_of_each(strata: Tensor, groups: Tensor) -> Tensor:
    """The strata with `UNLABELED` for all but the first labeled sample of each group."""
    labeled = (strata != UNLABELED).nonzero().flatten()
    first = torch.full((int(groups.max()) + 1,), len(strata))
    first.scatter_reduce_(0, groups[labeled], labeled, "amin")
    once = torch.full_like(strata, UNLABELED)
    representatives = first[first < len(strata)]
    once[representatives] = strata[representatives]
    return once


def copies(samples: Iterable[bytes]) -> Tensor | None:
    """(N,) int64 from 0, equal for equal samples, given as bytes each; None if all differ."""
    numbers: dict[bytes, int] = {}
    groups = torch.tensor([numbers.setdefault(sample, len(numbers)) for sample in samples])
    return None if len(numbers) == len(groups) else groups
