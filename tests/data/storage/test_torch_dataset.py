from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from limbeck.data.storage.torch_dataset import Items
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED


class Noisy(Dataset[Any]):
    """Items of (position, a draw of each generator), counted in `fetched`."""

    def __init__(self, size: int = 20, target: Callable[[int], Any] = lambda position: position % 4) -> None:
        self.size, self.target, self.fetched = size, target, 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, position: int) -> tuple[Tensor, Any]:
        self.fetched += 1
        draws = [random.random(), float(np.random.rand()), float(torch.rand(()))]
        return torch.tensor([position, *draws]), self.target(position)


class Listed(Noisy):
    """With its targets in a list, as torchvision has them."""

    def __init__(self, targets: Any, target_transform: Callable[[int], int] | None = None) -> None:
        super().__init__(len(targets))
        self.targets, self.target_transform = targets, target_transform


def take(items: Items, index: list[int], view: list[int]) -> Tensor:
    inputs = items.take(torch.tensor(index), torch.tensor(view))
    assert isinstance(inputs, Tensor)
    return inputs


def test_random_transforms_are_functions_of_index_and_view() -> None:
    items = Items.of(Noisy())
    batch = take(items, [3, 7, 3], [0, 0, 5])
    assert batch[:, 0].tolist() == [3, 7, 3]
    random.random(), np.random.rand(), torch.rand(())
    assert torch.equal(take(items, [3, 3, 7], [5, 0, 0]), batch[[2, 0, 1]])
    assert len(set(batch[:, 1:].flatten().tolist())) == 9  # all three generators, in all three (index, view)


def test_the_global_generators_are_left_as_they_were() -> None:
    def state() -> tuple[Any, ...]:
        array: Any = np.random.get_state()
        return random.getstate(), array[1].tolist(), array[2:], torch.get_rng_state().tolist()

    items, before = Items.of(Noisy()), state()
    take(items, [1, 2], [0, 9])
    assert state() == before
    with pytest.raises(
        LimbeckError, match="item 0 of the data set cannot be read: RuntimeError: broken item"
    ):
        Items.of(Noisy(target=lambda position: broken()))
    assert state() == before


def broken() -> int:
    raise RuntimeError("broken item")


def test_targets_come_from_a_pass_over_all_items() -> None:
    dataset = Noisy(300, target=lambda position: None if position == 2 else position % 3)
    items = Items.of(dataset)
    assert items.targets.tolist()[:6] == [0, 1, UNLABELED, 0, 1, 2]
    assert len(items.targets) == 300
    assert dataset.fetched == 300


def test_listed_targets_spare_the_pass() -> None:
    for targets in ([0, 1, 2, 3, 0], torch.tensor([0, 1, 2, 3, 0])):
        dataset = Listed(targets)
        assert Items.of(dataset).targets.tolist() == [0, 1, 2, 3, 0]
        assert Items.of(Subset(dataset, [4, 2])).targets.tolist() == [0, 2]
        assert dataset.fetched == 0


@pytest.mark.parametrize(
    "dataset",
    [
        Listed([0, 1, 2, 3, 0], target_transform=lambda label: label),
        Listed([0.0, 1.0, 2.0, 3.0, 0.0]),
        Listed(torch.zeros(5, 2, dtype=torch.int64)),
        Listed("abcde"),
    ],
)
def test_lists_that_may_not_be_the_targets_are_not_trusted(dataset: Listed) -> None:
    assert Items.of(dataset).targets.tolist() == [0, 1, 2, 3, 0]
    assert dataset.fetched == 5


def test_a_wrong_list_of_targets_is_found_when_the_item_is_fetched() -> None:
    items = Items.of(Listed([0, 1, 2, 0, 0]))
    take(items, [0, 4], [0, 0])
    with pytest.raises(LimbeckError, match=r"item 3 of the data set has the target 3, but .* said 0"):
        take(items, [4, 3], [0, 0])


def test_targets_that_change_from_view_to_view_are_found() -> None:
    items = Items.of(Noisy(target=lambda position: int(torch.randint(0, 10**6, ()))))
    take(items, [5], [0])
    with pytest.raises(LimbeckError, match="the same in every view"):
        take(items, [5], [1])


def test_select_counts_anew() -> None:
    part = Items.of(Noisy()).select(torch.tensor([6, 3]))
    assert len(part) == 2
    assert part.targets.tolist() == [2, 3]
    assert take(part, [1, 0], [0, 0])[:, 0].tolist() == [3, 6]


def test_the_full_fingerprint_knows_every_item() -> None:
    def of(*items: float) -> str:
        return Items.of([(torch.tensor([item]), 0) for item in items]).full_fingerprint()  # type: ignore[arg-type]

    many = [float(item) for item in range(600)]
    changed = [*many[:299], -1.0, *many[300:]]
    assert of(*many) == of(*many)
    assert of(*many) != of(*changed)
    assert Items.of(Noisy(30)).full_fingerprint() == Items.of(Noisy(30)).full_fingerprint()


class Erasing(Noisy):
    """Now and then it changes a number, drawing from a generator of its own or the global one."""

    def __init__(self, share: float, generator: torch.Generator | None = None) -> None:
        super().__init__(40)
        self.share, self.generator = share, generator

    def __getitem__(self, position: int) -> tuple[Tensor, Any]:
        erased = torch.rand((), generator=self.generator) < self.share
        return torch.tensor([position, float(erased)]), position % 4


def test_the_full_fingerprint_knows_transforms_and_refuses_what_is_never_the_same() -> None:
    few, many = (Items.of(Erasing(share)) for share in (0.2, 0.3))
    assert few.full_fingerprint() != many.full_fingerprint()
    own = Items.of(Erasing(0.5, torch.Generator().manual_seed(0)))
    with pytest.raises(
        LimbeckError, match=r"item \d+ of the data set is another one when the same view of it"
    ):
        own.full_fingerprint()


def test_the_fingerprint_repeats_and_differs_with_size_and_content() -> None:
    prints = [
        Items.of(dataset).fingerprint
        for dataset in (Noisy(), Noisy(), Noisy(21), Subset(Noisy(21), range(1, 21)))
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3
