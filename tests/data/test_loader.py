from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.data.loader import Loader, by_length
from limbeck.data.preparation import AS_RENDERED, Preparation
from limbeck.data.split import Split
from limbeck.data.storage.base import Resident
from limbeck.data.views import Crop, draw, parse
from limbeck.data.views.order import nth_view
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Inputs
from limbeck.tasks import Task

VIEWS = Crop(padding=1, flip=True)


def split(size: int = 23, labeled: bool = True) -> Split:
    images = torch.randint(
        0, 256, (size, 2, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    targets = torch.arange(size) % 3 if labeled else torch.full((size,), UNLABELED)
    return Split.whole(Resident(images), targets)


def plain(inputs: Inputs | None) -> Tensor:
    """What is known to be one tensor."""
    assert isinstance(inputs, Tensor)
    return inputs


def images_of(part: Split) -> Tensor:
    assert isinstance(part.samples, Resident)
    assert isinstance(part.samples.inputs, Tensor)
    return part.samples.inputs


def tensors(batch: Batch) -> dict[str, Any]:
    views = {f"view {name}": inputs for name, inputs in batch.views.items()}
    return {
        "inputs": batch.inputs,
        "targets": batch.targets,
        "index": batch.index,
        "view": batch.view,
        **views,
    }


def assert_same(a: Batch, b: Batch) -> None:
    first, second = tensors(a), tensors(b)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def index_of(batch: Batch) -> list[int]:
    positions: list[int] = plain(batch.index).tolist()
    return positions


def test_an_evaluation_pass_shows_every_sample_once_as_it_is() -> None:
    part = split()
    loader = Loader(part, 10, shuffle=False)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [10, 10, 3]
    assert len(loader) == 3
    assert [position for batch in batches for position in index_of(batch)] == list(range(23))
    assert torch.equal(torch.cat([plain(batch.inputs) for batch in batches]), images_of(part).float() / 255)
    assert torch.equal(torch.cat([plain(batch.targets) for batch in batches]), part.targets)
    assert all(batch.view is not None and not batch.view.any() for batch in batches)


def test_batches_hold_the_views_that_draw_names() -> None:
    part = split()
    loader = Loader(part, 8, views=VIEWS, seed=5)
    for epoch in range(2):
        for batch in loader:
            index, view = plain(batch.index), plain(batch.view)
            assert torch.equal(view, draw(5, index, epoch, VIEWS.count))
            shown = plain(VIEWS.render(images_of(part)[index], index, view))
            assert torch.equal(plain(batch.inputs), shown.float() / 255)
            assert torch.equal(plain(batch.targets), part.targets[index])


@pytest.mark.parametrize("world", [1, 3])
def test_weights_are_those_of_the_whole_batch_on_every_process(world: int) -> None:
    given = torch.linspace(0, 4, 23)
    part = replace(split(), weights=given)
    ranks = [list(Loader(part, 8, seed=5, rank=rank, world=world)) for rank in range(world)]
    for shares in zip(*ranks, strict=True):
        index = torch.cat([plain(batch.index) for batch in shares])
        weights = torch.cat([plain(batch.weights) for batch in shares])
        torch.testing.assert_close(weights, given[index] / given[index].mean())
    assert next(iter(Loader(split(), 8))).weights is None


def test_every_epoch_is_another_permutation() -> None:
    loader = Loader(split(), 23, seed=2)
    orders = [index_of(batch) for _ in range(4) for batch in loader]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert index_of(next(iter(Loader(split(), 23, seed=3)))) not in orders


def test_shuffling_favors_no_position() -> None:
    loader = Loader(split(6), 6, seed=0)
    firsts = torch.tensor([index_of(next(iter(loader)))[0] for _ in range(1200)]).bincount(minlength=6)
    assert ((firsts - 200).abs() < 5 * (1200 / 6 * 5 / 6) ** 0.5).all()


def test_a_restart_at_an_epoch_repeats_it() -> None:
    loader = Loader(split(), 8, views=VIEWS, seed=4)
    epochs = [list(loader) for _ in range(3)]
    again = Loader(split(), 8, views=VIEWS, seed=4)
    again.set_epoch(2)
    for a, b in zip(epochs[2], again, strict=True):
        assert_same(a, b)
    assert again.epoch == 3
    again.set_epoch(0)
    for a, b in zip(epochs[0], again, strict=True):
        assert_same(a, b)


@pytest.mark.parametrize("samples", [10, 23, 60])
def test_epochs_of_another_length_are_stretches_of_the_same_passes(samples: int) -> None:
    part = split()
    passes = Loader(part, 23, views=VIEWS, seed=4)
    stream = [plain(batch.index) for _ in range(9) for batch in passes]
    views = [draw(4, index, number, VIEWS.count) for number, index in enumerate(stream)]
    index, view = torch.cat(stream), torch.cat(views)
    loader = Loader(part, 8, views=VIEWS, seed=4, samples_per_epoch=samples)
    assert len(loader) == -(-samples // 8)
    for epoch in range(3):
        batches = list(loader)
        assert sum(map(len, batches)) == samples
        there = slice(epoch * samples, (epoch + 1) * samples)
        assert torch.equal(torch.cat([plain(batch.index) for batch in batches]), index[there])
        assert torch.equal(torch.cat([plain(batch.view) for batch in batches]), view[there])


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_may_begin_within_it(shuffle: bool) -> None:
    def loader() -> Loader:
        return Loader(split(), 4, views=VIEWS, seed=3, shuffle=shuffle, extra_views=("other",))

    whole, part = loader(), loader()
    whole.set_epoch(2)
    part.set_epoch(2)
    batches, left = list(whole), list(part.skipping(4))
    assert len(batches) == 6
    for one, other in zip(batches[4:], left, strict=True):
        for name, value in tensors(one).items():
            assert value is None or torch.equal(value, tensors(other)[name])
    assert part.epoch == 3
    assert list(part.skipping(6)) == []


def test_each_iter_is_the_next_epoch_even_when_two_run_at_once() -> None:
    loader = Loader(split(), 23, seed=0)
    first, second = iter(loader), iter(loader)
    apart = Loader(split(), 23, seed=0)
    later, earlier = next(second), next(first)
    assert_same(earlier, next(iter(apart)))
    assert_same(later, next(iter(apart)))


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("size", [23, 24, 25])
def test_the_shares_of_all_ranks_are_the_batches_of_one_process(size: int, world: int) -> None:
    def loader(rank: int, world: int) -> Loader:
        return Loader(split(size), 8, views=VIEWS, seed=6, rank=rank, world=world, extra_views=("other",))

    alone = loader(0, 1)
    ranks = [loader(rank, world) for rank in range(world)]
    kept = len(alone) - (0 < size % 8 < world)
    assert [len(rank) for rank in ranks] == [kept] * world
    for _ in range(2):
        for batch, *shares in zip(list(alone)[:kept], *ranks, strict=True):
            sizes = [len(share) for share in shares]
            assert max(sizes) - min(sizes) <= 1
            assert min(sizes) >= 1
            for name, whole in tensors(batch).items():
                assert torch.equal(torch.cat([tensors(share)[name] for share in shares]), whole)


def test_drop_last_leaves_a_part_batch_out() -> None:
    loader = Loader(split(), 10, drop_last=True)
    assert [len(batch) for batch in loader] == [10, 10]
    assert len(Loader(split(20), 10, drop_last=True)) == len(Loader(split(20), 10)) == 2


def test_the_seed_of_the_views_is_apart_from_the_seed_of_the_order() -> None:
    def views_by_position(seed: int, view_seed: int | None) -> tuple[list[int], list[int]]:
        batch = next(iter(Loader(split(), 23, views=VIEWS, seed=seed, view_seed=view_seed)))
        index, view = plain(batch.index), plain(batch.view)
        return index.tolist(), view[index.argsort()].tolist()

    (order, views), (other_order, other_views) = views_by_position(1, 9), views_by_position(2, 9)
    assert order != other_order
    assert views == other_views
    assert views_by_position(1, None) == views_by_position(1, 1)
    assert views_by_position(1, 1)[1] != views


def test_extra_views_are_independent_and_do_not_disturb_each_other() -> None:
    def batch(*names: str) -> Batch:
        return next(iter(Loader(split(), 23, views=VIEWS, extra_views=names)))

    both, one = batch("second", "third"), batch("third")
    assert torch.equal(plain(both.inputs), plain(one.inputs))
    assert torch.equal(plain(both.views["third"]), plain(one.views["third"]))
    shown = [plain(inputs) for inputs in (both.inputs, both.views["second"], both.views["third"])]
    same = [(a == b).flatten(1).all(1).sum() for a, b in combinations(shown, 2)]
    assert max(same) < 8  # of 23 samples, 18 views each
    assert one.views.keys() == {"third"}


def test_among_few_views_each_sample_has_its_own_in_every_run() -> None:
    seen: dict[int, set[int]] = {}
    for seed in (1, 2):
        loader = Loader(split(), 23, views=VIEWS, seed=seed, views_per_sample=3, extra_views=("second",))
        for batch in (batch for _ in range(20) for batch in loader):
            for views in (plain(batch.view), batch.view_numbers["second"]):
                for position, view in zip(index_of(batch), views.tolist(), strict=True):
                    seen.setdefault(position, set()).add(view)
    assert {len(views) for views in seen.values()} == {3}
    order = {at: set(nth_view(torch.tensor(at), torch.arange(3), VIEWS.count).tolist()) for at in range(23)}
    assert seen == order
    assert len(set().union(*seen.values())) == VIEWS.count, "all views are in use"


def test_all_views_are_drawn_as_if_nothing_was_said() -> None:
    for batches in zip(
        Loader(split(), 5, views=VIEWS), Loader(split(), 5, views=VIEWS, views_per_sample=18), strict=True
    ):
        assert_same(*batches)


def test_further_views_have_their_numbers() -> None:
    part = split()
    batch = next(iter(Loader(part, 23, views=VIEWS, extra_views=("second",))))
    assert batch.index is not None
    shown = part.samples.render(VIEWS, batch.index, batch.view_numbers["second"])
    assert torch.equal(plain(shown), plain(batch.views["second"]))


@pytest.mark.parametrize("number", [0, -1, 19])
def test_a_number_of_views_that_cannot_be_drawn_among(number: int) -> None:
    with pytest.raises(
        LimbeckError,
        match=rf"are 18, so {number} of each sample cannot be drawn among; take 1 to 18",
    ):
        Loader(split(), 5, views=VIEWS, views_per_sample=number)


def test_parts_of_a_split_keep_their_positions_and_views() -> None:
    whole = split()
    part = whole.select(torch.tensor([3, 20, 11]))
    batch = next(iter(Loader(part, 3, views=VIEWS, seed=5, shuffle=False)))
    assert index_of(batch) == [3, 20, 11]
    assert torch.equal(plain(batch.view), draw(5, torch.tensor([3, 20, 11]), 0, VIEWS.count))


def test_targets_are_none_only_where_no_sample_has_a_label() -> None:
    assert next(iter(Loader(split(labeled=False), 4))).targets is None
    mixed = split()
    mixed.targets[1:] = UNLABELED
    targets = [batch.targets for batch in Loader(mixed, 4)]
    assert all(part is not None for part in targets)


def test_named_inputs() -> None:
    part = Split.whole(
        Resident({"a": torch.arange(6).view(3, 2), "b": torch.ones(3)}), torch.tensor([0, 1, 0])
    )
    batch = next(iter(Loader(part, 2, shuffle=False)))
    assert not isinstance(batch.inputs, Tensor)
    assert batch.inputs["a"].tolist() == [[0, 1], [2, 3]]
    assert len(batch) == 2


def test_the_global_generator_is_not_touched() -> None:
    state = torch.get_rng_state()
    list(Loader(split(), 8, views=VIEWS))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("size", "arguments", "message"),
    [
        (23, {"batch_size": 3, "world": 4}, "a batch of 3 has no sample for each of 4 processes"),
        (23, {"batch_size": 0}, "a batch of 0 has no sample"),
        (23, {"batch_size": 8, "rank": 2, "world": 2}, "rank should be 0 to 1 with 2 processes, not 2"),
        (
            5,
            {"batch_size": 8, "drop_last": True},
            "5 samples in batches of 8 .* with drop_last leave no batch",
        ),
        (3, {"batch_size": 8, "world": 4}, r"3 samples in batches of 8 for 4 process\(es\) leave no batch"),
        (0, {"batch_size": 8}, "0 samples"),
    ],
)
def test_refuses(size: int, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        Loader(split(size), **arguments)


# Targets that are maps


class Masks(Task):
    """Maps (N, H, W) of class ids; -1 is no label."""

    spatial = True
    ignored = -1

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        return (targets != cls.ignored).flatten(1).any(1)


def masked(size: int = 23) -> Split:
    """Images whose first channel is bright where the mask is 1."""
    part = split(size)
    masks = (images_of(part)[:, 0] > 127).long()
    return Split.whole(part.samples, masks, Masks)  # type: ignore[type-abstract]


@pytest.mark.parametrize("text", ["none", "crop(padding=1, flip=true)", "crop(padding=1) + cutout(size=1)"])
def test_masks_stay_aligned_with_their_images(text: str) -> None:
    loader, padded = Loader(masked(), 8, views=parse(text), seed=3), 0
    for batch in loader:
        assert batch.targets is not None
        known = batch.targets != -1
        bright = (plain(batch.inputs)[:, 0] > 0.5).long()
        if "cutout" in text:  # the squares, of 128, hide a pixel of each image and no label
            hidden = (plain(batch.inputs) == 128 / 255).all(1)
            assert hidden.flatten(1).sum(1).max() == 1
            known &= ~hidden
        assert torch.equal(batch.targets[known], bright[known])
        assert (plain(batch.inputs)[:, 0][batch.targets == -1] == 0).all() or "cutout" in text
        padded += int((batch.targets == -1).sum())
    assert (padded > 0) == (text != "none")


def test_masks_of_another_size_than_the_images_are_refused() -> None:
    masks = torch.zeros(23, 8, 10, dtype=torch.int64)
    part = Split.whole(split().samples, masks, Masks)  # type: ignore[type-abstract]
    with pytest.raises(LimbeckError, match=r"maps of 8 x 10 pixels and the images have 4 x 5 pixels"):
        next(iter(Loader(part, 4)))


# What each network reads


def test_a_network_reads_the_same_view_in_its_own_size() -> None:
    sizes = {
        "big": Preparation(16),
        "wide": Preparation((4, 9)),
        "same": Preparation(16),
        "plain": AS_RENDERED,
    }
    given: dict[str, Any] = {"views": VIEWS, "seed": 5, "teacher_preparations": sizes}
    for batch, without in zip(
        Loader(split(), 8, **given), Loader(split(), 8, views=VIEWS, seed=5), strict=True
    ):
        assert_same(batch, without)
        seen = batch.teacher_inputs
        assert list(seen) == ["big", "wide", "same"], "plain reads what the student reads"
        expected = {
            size: F.interpolate(plain(batch.inputs), size, mode="bilinear", antialias=True)
            for size in ((16, 16), (4, 9))
        }
        assert torch.equal(plain(seen["big"]), expected[16, 16])
        assert torch.equal(plain(seen["wide"]), expected[4, 9])
        assert seen["same"] is seen["big"]
        assert without.teacher_inputs == {}


def test_a_student_of_another_size_leaves_teachers_what_the_data_has() -> None:
    given: dict[str, Any] = {"views": VIEWS, "seed": 5, "extra_views": ("other",)}
    for batch, without in zip(
        Loader(split(), 8, preparation=Preparation(2), **given), Loader(split(), 8, **given), strict=True
    ):
        for ours, theirs in ((batch.inputs, without.inputs), (batch.views["other"], without.views["other"])):
            assert torch.equal(
                plain(ours), F.interpolate(plain(theirs), (2, 2), mode="bilinear", antialias=True)
            )
        assert batch.teacher_inputs == {}, "no teacher is named"
    loader = Loader(
        split(), 8, views=VIEWS, preparation=Preparation(2), teacher_preparations={"t": AS_RENDERED}
    )
    for batch, without in zip(loader, Loader(split(), 8, views=VIEWS), strict=True):
        assert torch.equal(plain(batch.teacher_inputs["t"]), plain(without.inputs))
        assert plain(batch.inputs).shape[2:] == (2, 2)


def test_masks_keep_the_size_of_the_data() -> None:
    loader = Loader(masked(), 8, views=VIEWS, preparation=Preparation(12))
    for batch, without in zip(loader, Loader(masked(), 8, views=VIEWS), strict=True):
        assert plain(batch.inputs).shape[2:] == (12, 12)
        assert torch.equal(plain(batch.targets), plain(without.targets))


def test_further_views_of_two_sizes_are_refused() -> None:
    with pytest.raises(LimbeckError, match=r"further views \(other\) .* big reads .* \(9 x 9 pixels\)"):
        Loader(split(), 8, extra_views=("other",), teacher_preparations={"big": Preparation(9)})


class Few(Resident):
    """Images that there is memory for in small batches only."""

    most = 40


def test_a_second_size_takes_memory_by_its_pixels() -> None:
    part = split()
    few = Split.whole(Few(images_of(part)), part.targets)
    doubled = Preparation((8, 10))  # four times the pixels, so a sample takes as much as five
    Loader(few, 8, teacher_preparations={"big": doubled})
    with pytest.raises(LimbeckError, match="holds 8 samples in 5 views each, and a batch has 9"):
        Loader(few, 9, teacher_preparations={"big": doubled})
    assert Loader(few, 23, shuffle=False, preparation=doubled).batch_size == 8
    assert Loader(few, 23, shuffle=False).batch_size == 23


def test_batches_by_length_hold_every_sample_once_and_keep_the_odd_batch_last() -> None:
    lengths = torch.tensor([5, 1, 4, 1, 3, 9, 2])
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    sorted_ = by_length(order, lengths, 3, torch.Generator().manual_seed(0))
    assert sorted(sorted_.tolist()) == list(range(7))
    assert sorted_[6] == order[6]
    again = by_length(order, lengths, 3, torch.Generator().manual_seed(0))
    assert torch.equal(sorted_, again)


def test_batches_by_length_have_little_padding_and_no_sample_is_always_last() -> None:
    lengths = torch.randint(1, 100, (1000,), generator=torch.Generator().manual_seed(0))
    padded, last = 0, set()
    for seed in range(20):
        random = torch.randperm(1000, generator=torch.Generator().manual_seed(seed))
        order = by_length(random, lengths, 8, torch.Generator().manual_seed(seed))
        padded += int((lengths[order].view(-1, 8).max(1).values * 8).sum() - lengths.sum())
        last |= set(by_length(random[:30], lengths, 8, torch.Generator().manual_seed(seed))[-6:].tolist())
    assert padded / 20 < 0.15 * int(lengths.sum())
    assert len(last) > 60


def test_batches_by_length_are_shuffled() -> None:
    lengths = torch.arange(400)
    order = by_length(torch.randperm(400), lengths, 4, torch.Generator().manual_seed(0))
    longest = order.view(-1, 4).max(1).values
    assert not torch.equal(longest, longest.sort().values)
    assert not torch.equal(longest, longest.sort(descending=True).values)
