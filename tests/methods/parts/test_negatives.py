from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limbeck.methods.parts.negatives import Negatives
from limbeck.outputs import ABSENT, UNLABELED


def seed(number: int) -> Tensor:
    return torch.tensor(number)


def targets() -> Tensor:
    """60 positions: classes of 10, 20 and 15 in no order, 9 samples without a label, 6 positions of none."""
    counts = torch.tensor([10, 20, 15, 9, 6])
    labels = torch.tensor([0, 1, 2, UNLABELED, ABSENT]).repeat_interleave(counts)
    return labels[torch.randperm(60, generator=torch.Generator().manual_seed(1))]


def others_of(labels: Tensor, position: int) -> set[int]:
    alike = (labels == labels[position]) & (labels != UNLABELED)
    alike[position] = True
    return set(((labels != ABSENT) & ~alike).nonzero().flatten().tolist())


@pytest.mark.parametrize("size", [1, 7, 33, 34])
def test_each_sample_s_negatives_are_different_samples_of_other_classes(size: int) -> None:
    labels = targets()
    negatives = Negatives(labels)
    assert (len(negatives), negatives.fewest) == (54, 34)
    index = (labels != ABSENT).nonzero().flatten()
    for number in range(20):
        drawn = negatives.of_each(index, size, seed(number))
        assert drawn.shape == (54, size)
        for position, row in zip(index.tolist(), drawn.tolist(), strict=True):
            assert len(set(row)) == size
            assert set(row) <= others_of(labels, position)


def test_every_negative_has_the_same_chance() -> None:
    labels = targets()
    negatives, tries, size = Negatives(labels), 4000, 7
    for position in (labels == 1).nonzero()[0].tolist() + (labels == UNLABELED).nonzero()[0].tolist():
        rows = [negatives.of_each(torch.tensor([position]), size, seed(number)) for number in range(tries)]
        hits = torch.cat(rows).flatten().bincount(minlength=60)
        others = others_of(labels, position)
        share = size / len(others)
        for place, count in enumerate(hits.tolist()):
            if place in others:
                assert abs(count - tries * share) < 5 * (tries * share * (1 - share)) ** 0.5
            else:
                assert count == 0


def test_two_negatives_are_drawn_together_about_as_often_as_any_two() -> None:
    negatives, tries, size = Negatives(torch.arange(40) % 2), 4000, 5
    rows = torch.cat([negatives.of_each(torch.tensor([0]), size, seed(number)) for number in range(tries)])
    drawn = torch.zeros(tries, 40).scatter(1, rows, 1)[:, 1::2]
    together = (drawn.T @ drawn)[0, 1:]  # 19 others; those beside it share a stretch now and then
    assert together.min() > 0
    assert together.sum() == pytest.approx(drawn[:, 0].sum().item() * (size - 1))


def test_a_draw_is_a_function_of_position_and_seed_alone() -> None:
    negatives = Negatives(targets())
    index = torch.tensor([5, 17, 3, 40])
    drawn = negatives.of_each(index, 9, seed(3))
    parts = [negatives.of_each(part, 9, seed(3)) for part in (index[:1], index[1:])]
    assert torch.equal(drawn, torch.cat(parts))
    assert not torch.equal(drawn, negatives.of_each(index, 9, seed(4)))
    one, other = Negatives(torch.arange(20) % 2).of_each(torch.tensor([2, 4]), 5, seed(3))
    assert not torch.equal(one, other), "two samples of a class have negatives of their own"


def test_negatives_for_all_are_different_samples_of_any_class() -> None:
    labels = targets()
    negatives = Negatives(labels)
    present = set((labels != ABSENT).nonzero().flatten().tolist())
    hits = torch.zeros(60)
    for number in range(2000):
        drawn = negatives.for_all(11, seed(number))
        assert len(set(drawn.tolist())) == 11
        hits[drawn] += 1
    assert set(hits.nonzero().flatten().tolist()) == present
    found = hits[sorted(present)]
    assert ((found - 2000 * 11 / 54).abs() < 5 * (2000 * 11 / 54) ** 0.5).all()
    assert set(negatives.for_all(54, seed(0)).tolist()) == present


def test_samples_differ_unless_they_share_a_label_or_are_one() -> None:
    labels = torch.tensor([0, 1, 0, UNLABELED, UNLABELED, ABSENT])
    differ = Negatives(labels).differ(torch.tensor([0, 3]), torch.tensor([0, 1, 2, 3, 4]))
    assert differ.tolist() == [[False, True, False, True, True], [True, True, True, False, True]]


def test_without_any_label_every_other_sample_is_a_negative() -> None:
    negatives = Negatives(torch.full((6,), UNLABELED))
    assert negatives.fewest == 5
    assert set(negatives.of_each(torch.tensor([2]), 5, seed(0))[0].tolist()) == {0, 1, 3, 4, 5}


def test_one_class_has_no_negatives() -> None:
    assert Negatives(torch.zeros(4, dtype=torch.int64)).fewest == 0
