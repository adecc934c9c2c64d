from __future__ import annotations

import pytest
import torch
from torch import Tensor

from class_counts import class_counts
from limbeck.data.split import Split, copies, held_out, keep_labels, pick, stratified
from limbeck.data.storage.base import Resident
from limbeck.errors import LimbeckError
from limbeck.outputs import ABSENT, UNLABELED
from limbeck.tasks import Multilabel, Regression


def split(targets: list[int]) -> Split:
    return Split.whole(Resident(torch.arange(len(targets)).float()[:, None]), torch.tensor(targets))


def test_the_labeled_part_keeps_the_positions_of_the_whole() -> None:
    whole = split([UNLABELED, 2, 0, UNLABELED, 2])
    part = whole.labeled()
    assert (len(part), part.positions) == (3, 5)
    assert part.index.tolist() == [1, 2, 4]
    assert part.targets.tolist() == [2, 0, 2]
    assert part.samples is whole.samples
    assert part.select(torch.tensor([2, 0])).index.tolist() == [4, 1]


def test_class_counts_leave_out_the_unlabeled() -> None:
    assert class_counts(split([UNLABELED, 2, 0, 2]), 4).tolist() == [1, 0, 2, 0]


def test_targets_by_position_tell_the_unlabeled_from_the_absent() -> None:
    whole = split([UNLABELED, 2, 0, 2])
    assert torch.equal(whole.targets_by_position, whole.targets)
    part = whole.select(torch.tensor([3, 0]))
    assert part.targets_by_position.tolist() == [UNLABELED, ABSENT, ABSENT, 2]


def test_has_labels() -> None:
    assert split([UNLABELED, 0]).has_labels
    nothing = split([UNLABELED, UNLABELED])
    assert not nothing.has_labels
    with pytest.raises(LimbeckError, match="no training sample has a label to learn from"):
        nothing.labeled()


def test_to_moves_all_tensors() -> None:
    moved = split([0, 1]).to("meta")
    assert isinstance(moved.samples, Resident)
    assert isinstance(moved.samples.inputs, Tensor)
    assert {tensor.device.type for tensor in (moved.samples.inputs, moved.targets, moved.index)} == {"meta"}


def test_pick_draws_so_many_of_each_class() -> None:
    targets = torch.arange(60) % 3
    targets[:9] = UNLABELED
    drawn = pick(targets, torch.tensor([4, 0, 7]), seed=1)
    assert targets[drawn].bincount().tolist() == [4, 0, 7]
    assert (drawn.diff() > 0).all()
    assert torch.equal(drawn, pick(targets, torch.tensor([4, 0, 7]), seed=1))
    assert not torch.equal(drawn, pick(targets, torch.tensor([4, 0, 7]), seed=2))


def test_pick_gives_every_sample_of_a_class_the_same_chance() -> None:
    targets = torch.zeros(10, dtype=torch.int64)
    hits = torch.cat([pick(targets, torch.tensor([2]), seed) for seed in range(1000)]).bincount(minlength=10)
    assert hits.sum() == 2000
    assert ((hits - 200).abs() < 5 * (1000 * 0.2 * 0.8) ** 0.5).all()


@pytest.mark.parametrize(
    ("counts", "size", "shares"),
    [
        ([50, 30, 20], 10, [5, 3, 2]),
        ([5, 5, 5], 4, [2, 1, 1]),
        ([1, 98, 1], 2, [0, 2, 0]),
        ([3, 4], 7, [3, 4]),
    ],
)
def test_stratified_shares_by_largest_remainders(counts: list[int], size: int, shares: list[int]) -> None:
    targets = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    drawn = stratified(torch.cat([targets, torch.full((9,), UNLABELED)]), size, seed=0)
    assert targets[drawn].bincount(minlength=len(counts)).tolist() == shares


def test_held_out_parts_every_class_and_keeps_the_unlabeled() -> None:
    targets = torch.tensor([0] * 40 + [1] * 3 + [2] + [UNLABELED] * 6)[torch.randperm(50)]
    kept, held = held_out(targets, 0.1)
    assert torch.cat([kept, held]).sort().values.tolist() == list(range(50))
    assert targets[held].bincount(minlength=3).tolist() == [4, 1, 0]
    assert (targets[kept] == UNLABELED).sum() == 6
    assert torch.equal(held, held_out(targets, 0.1)[1])


@pytest.mark.parametrize("targets", [[0, 1, 2], [UNLABELED] * 3])
def test_held_out_has_nothing_where_no_class_can_spare_a_sample(targets: list[int]) -> None:
    kept, held = held_out(torch.tensor(targets), 0.5)
    assert kept.tolist() == [0, 1, 2]
    assert held.tolist() == []


def test_keep_labels_hides_the_others_class_by_class() -> None:
    targets = torch.tensor([0, 1] * 30 + [UNLABELED])
    kept = keep_labels(targets, 10, seed=3)
    assert kept[kept != UNLABELED].bincount().tolist() == [5, 5]
    assert ((kept == targets) | (kept == UNLABELED)).all()
    assert not torch.equal(kept, keep_labels(targets, 10, seed=4))


def test_copies_are_held_out_together() -> None:
    torch.manual_seed(0)
    samples = [bytes([number]) for number in range(100)] * 3
    groups = copies(samples)
    assert groups is not None
    assert groups.tolist() == list(range(100)) * 3
    targets = torch.arange(300) % 100 % 4
    kept, held = held_out(targets, 0.2, groups)
    assert len(held) == 60
    assert len(kept) + len(held) == 300
    assert not {samples[row] for row in held.tolist()} & {samples[row] for row in kept.tolist()}
    assert targets[held].bincount().tolist() == [15] * 4


def test_without_copies_the_draw_is_the_same() -> None:
    assert copies([b"a", b"b"]) is None
    assert copies([]) is None
    targets = torch.randint(0, 5, (200,))
    for ours, plain in zip(held_out(targets, 0.1, torch.arange(200)), held_out(targets, 0.1), strict=True):
        assert torch.equal(ours, plain)


def test_a_class_of_copies_alone_is_kept() -> None:
    targets, groups = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 2, 3])
    kept, held = held_out(targets, 0.5, groups)
    assert targets[held].tolist() == [1, 1]
    assert kept.tolist()[:2] == [0, 1]


def test_a_copy_without_a_label_is_in_neither_part() -> None:
    targets, groups = torch.tensor([0, 0, UNLABELED, UNLABELED]), torch.tensor([0, 1, 0, 1])
    kept, held = held_out(targets, 0.5, groups)
    assert len(kept) == 2
    assert len(held) == 1
    assert groups[kept].tolist() == [1 - int(groups[held])] * 2


def test_labels_are_taken_off_for_every_task() -> None:
    several = torch.tensor([[1, 0], [0, 1]] * 5)
    kept = keep_labels(several, 4, 0, Multilabel)
    assert ((kept == UNLABELED).all(1)).sum() == 6
    assert torch.equal(kept[kept[:, 0] >= 0], several[kept[:, 0] >= 0])
    values = torch.arange(10.0)[:, None]
    left = keep_labels(values, 3, 0, Regression)
    assert left.isnan().sum() == 7
    assert torch.equal(left[~left.isnan()], values[~left.isnan()])
