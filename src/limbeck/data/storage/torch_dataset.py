"""Samples that lie behind a user's own `torch` data set."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from limbeck.data.storage.base import Samples, digest, digests, spread
from limbeck.data.storage.item import as_targets, read, stack
from limbeck.errors import LimbeckError
from limbeck.hashing import mix
from limbeck.outputs import Inputs, apply, named
from limbeck.tasks import Classification, Task

_PART = 256
"""Items that are fetched together in a pass over all."""


@dataclass(frozen=True, eq=False, repr=False)
class Items(Samples):
    """The items of a map-style data set, fetched when they are asked for and never kept.

    Random transforms that draw from the global generators of `random`, `numpy` and `torch` (on the CPU) are
    functions of (index, view): the three are seeded before each item, and put back in the end.

    Attributes:
        dataset: the user's.
        targets: (N, ...) targets of the items, which every fetch is held against.
        task: what they are.
        device: where batches are handed out.
        contents: bytes for each item in view 0, equal for equal ones, if a pass over all was needed anyway.
    """

    dataset: Dataset[Any]
    targets: Tensor
    task: type[Task] = Classification
    device: torch.device | str = "cpu"
    contents: Sequence[bytes] = ()

    @classmethod
    def of(cls, dataset: Dataset[Any], task: type[Task] = Classification, which: str = "training") -> Items:
        """All items; targets that the data set does not list take a pass over it.

        Args:
            dataset: map-style.
            task: what the targets are.
            which: "training", "validation" or "test", for messages.
        """
        known = _listed_targets(dataset) if task is Classification else None
        if known is not None:
            return cls(dataset, known, task)
        targets: list[Any] = []
        contents: list[bytes] = []
        for part in torch.split(torch.arange(len(dataset)), _PART):  # type: ignore[arg-type]
            inputs, found = _fetch(dataset, part, torch.zeros_like(part))
            targets += found
            contents += digests(inputs)
        return cls(dataset, as_targets(targets, range(len(targets)), task, which), task, contents=contents)

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Tensor, view: Tensor) -> Inputs:
        """Fetches the items one after the other and stacks them."""
        inputs, found = _fetch(self.dataset, index, view)
        targets, known = as_targets(found, index.tolist(), self.task, "training"), self.targets[index.cpu()]
        if targets.shape != known.shape or not torch.equal(targets.nan_to_num(), known.nan_to_num()):
            row = next(row for row, each in enumerate(targets) if not _same(each, known[row]))
            raise LimbeckError(
                f"item {index[row]} of the data set has the target {_said(targets[row])}, but its list of"
                f" targets or an earlier look at the item said {_said(known[row])}; a target should be the"
                " same in every view"
            )
        return apply(lambda tensor: tensor.to(self.device), inputs)

    def select(self, rows: Tensor) -> Items:
        """Some of the items, counted anew from 0."""
        contents = [self.contents[row] for row in rows.tolist()] if self.contents else ()
        return replace(
            self, dataset=Subset(self.dataset, rows.tolist()), targets=self.targets[rows], contents=contents
        )

    def to(self, device: torch.device | str) -> Items:
        """The same items, handed out on another device."""
        return replace(self, device=device)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the number of items and of eight of them in view 0; to read all could take hours."""
        probe = spread(len(self), 8)
        return digest({"#": torch.tensor([len(self)]), **named(self.take(probe, torch.zeros_like(probe)))})

    def full_fingerprint(self) -> str:
        """A digest of every item in view 0; eight are fetched twice, in two views, to see if they repeat."""
        for item in torch.split(spread(len(self), 8), 1):
            for view in (torch.zeros_like(item), torch.ones_like(item)):
                if len({digest(named(self.take(item, view))) for _ in range(2)}) > 1:
                    raise LimbeckError(
                        f"item {int(item)} of the data set is another one when the same view of it is fetched"
                        " again, so a teacher's answer to it cannot be kept; let its transforms draw from the"
                        " global generators of random, numpy or torch, which limbeck seeds, or train without"
                        " a cache"
                    )
        parts = torch.split(torch.arange(len(self)), _PART)
        digests = [digest(named(self.take(part, torch.zeros_like(part)))) for part in parts]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


def _same(target: Tensor, known: Tensor) -> bool:
    return target.shape == known.shape and torch.equal(target.nan_to_num(), known.nan_to_num())


def _said(target: Tensor) -> Any:
    return target.tolist()


def _fetch(dataset: Dataset[Any], index: Tensor, view: Tensor) -> tuple[Inputs, list[Any]]:
    """The inputs and the targets, one by one as they are, of some items."""
    positions, seeds = index.tolist(), mix(index, view).tolist()
    items, targets = [], []
    with _borrowed_generators():
        for position, seed in zip(positions, seeds, strict=True):
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU too
            try:
                found = dataset[position]
            except LimbeckError:
                raise
            except Exception as error:
                raise LimbeckError(
                    f"item {position} of the data set cannot be read: {type(error).__name__}: {error}"
                ) from error
            item, target = read(found, position)
            items.append(item)
            targets.append(target)
    return stack(items, positions), targets


@contextmanager
def _borrowed_generators() -> Iterator[None]:
    """Leaves the global generators as they were."""
    python, array, tensor = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(array)
        torch.set_rng_state(tensor)


def _listed_targets(dataset: Dataset[Any]) -> Tensor | None:
    """The class ids that torchvision's data sets list in `targets`, unless a transform changes them."""
    if isinstance(dataset, Subset):
        listed = _listed_targets(dataset.dataset)
        return None if listed is None else listed[torch.as_tensor(dataset.indices)]
    listed = getattr(dataset, "targets", None)
    if isinstance(listed, list) and all(type(label) is int for label in listed):
        listed = torch.tensor(listed)
    usable = isinstance(listed, Tensor) and listed.shape == (len(dataset),) and listed.dtype == torch.int64  # type: ignore[arg-type]
    return listed if usable and getattr(dataset, "target_transform", None) is None else None
