from __future__ import annotations

import gc
import sys
import weakref

import pytest
import torch
from torch import Tensor

from limbeck.data import Split
from limbeck.data.storage import base as samples
from limbeck.data.storage.base import Resident, digest, digests, spread
from limbeck.data.views import Crop, Unchanged
from limbeck.outputs import Inputs


def plain(inputs: Inputs) -> Tensor:
    """The inputs, known to be one tensor."""
    assert isinstance(inputs, Tensor)
    return inputs


def images() -> Tensor:
    return torch.arange(5 * 2 * 3 * 4, dtype=torch.uint8).view(5, 2, 3, 4)


def test_take_and_select_follow_positions() -> None:
    samples = Resident(images())
    index = torch.tensor([4, 0, 4])
    assert torch.equal(plain(samples.take(index, index)), images()[[4, 0, 4]])
    assert len(samples.select(index)) == 3
    assert torch.equal(plain(samples.select(index).take(torch.tensor([1]), index[:1])), images()[:1])


def test_render_shows_views_as_pixels_from_zero_to_one() -> None:
    index, views = torch.tensor([2, 3]), Crop(padding=1)
    shown = plain(Resident(images()).render(views, index, torch.tensor([views.base, 0])))
    assert shown.dtype == torch.float32
    assert torch.equal(shown[0], images()[2].float() / 255)
    assert torch.equal(shown[1, :, 1:, 1:], images()[3, :, :-1, :-1].float() / 255)
    assert not shown[1, :, 0].any()


@pytest.mark.parametrize("stored", [torch.rand(5, 3, dtype=torch.float64), torch.arange(10).view(5, 2)])
def test_render_leaves_all_but_images_as_they_are(stored: Tensor) -> None:
    index = torch.tensor([1, 4])
    shown = plain(Resident(stored).render(Unchanged(), index, index))
    assert shown.dtype == stored.dtype
    assert torch.equal(shown, stored[[1, 4]])


def test_named_tensors_stay_named() -> None:
    tokens, mask = torch.arange(6).view(3, 2), torch.tensor([[1, 0], [1, 1], [0, 0]], dtype=torch.uint8)
    index = torch.tensor([2, 0])
    shown = Resident({"input_ids": tokens, "attention_mask": mask}).render(Unchanged(), index, index)
    assert not isinstance(shown, Tensor)
    assert torch.equal(shown["input_ids"], tokens[[2, 0]])
    assert torch.equal(shown["attention_mask"], mask[[2, 0]])  # bytes, but no image


def test_the_fingerprint_knows_every_byte_shape_dtype_and_name() -> None:
    first, changed = images(), images()
    changed[4, 1, 2, 3] += 1
    prints = {
        Resident(inputs).fingerprint
        for inputs in (first, changed, first.flip(0), first.view(5, 2, 4, 3), first.long(), {"x": first})
    }
    assert len(prints) == 6
    assert Resident(first).fingerprint == Resident(images()).fingerprint
    assert (
        Resident(first.transpose(0, 1)).fingerprint
        == Resident(first.transpose(0, 1).contiguous()).fingerprint
    )


def test_digest_is_independent_of_the_order_of_names() -> None:
    one, two = torch.zeros(1), torch.ones(2)
    assert digest({"a": one, "b": two}) == digest({"b": two, "a": one}) != digest({"a": two, "b": one})


@pytest.mark.parametrize(("size", "count", "positions"), [(9, 3, [0, 4, 8]), (3, 8, [0, 1, 2]), (1, 8, [0])])
def test_spread(size: int, count: int, positions: list[int]) -> None:
    assert spread(size, count).tolist() == positions


def test_one_copy_on_a_device_serves_all_and_goes_with_the_last() -> None:
    kept = Resident(images())
    assert kept.to("cpu") is kept
    copy = kept.to("meta")
    assert plain(copy.inputs).device.type == "meta"
    assert copy.workers == 0
    assert kept.to("meta") is copy is copy.to("meta")
    split = Split.whole(kept, torch.zeros(5).long())
    parts = [part.to("meta") for part in (split, split.select(torch.tensor([1, 3])))]
    assert all(part.samples is copy for part in parts)
    gone = weakref.ref(copy)
    del copy
    assert gone() is not None
    del parts
    gc.collect()
    assert gone() is None


def test_a_device_without_room_gets_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = {"cpu": sys.maxsize, "meta": images().nbytes - 1}
    monkeypatch.setattr(samples, "budget_on", lambda device: budgets[device.type])
    kept = Resident(images())
    moving = kept.to("meta")
    assert moving.inputs is kept.inputs
    assert moving.workers == 1
    index = torch.tensor([4, 0])
    assert plain(moving.take(index, index)).device.type == "meta"
    assert moving.to("meta") is moving is kept.to("meta")
    back = moving.to("cpu")
    assert torch.equal(plain(back.take(index, index)), images()[[4, 0]])
    budgets["meta"] += 1
    del moving
    assert plain(kept.to("meta").inputs).device.type == "meta"


def test_equal_samples_have_equal_digests() -> None:
    for width in (3, 40):
        table = torch.randn(4, width)
        table[2] = table[0]
        found = digests(table)
        assert [found.index(each) for each in found] == [0, 1, 0, 3]
        assert digests(table[1:]) == found[1:]
        other = torch.arange(4)  # beside it, what was equal differs
        assert len(set(digests({"x": table, "y": other}))) == 4
    assert digests(torch.tensor([1, 2, 1])) == digests(torch.tensor([[1], [2], [1]]))
    assert len(set(digests(torch.tensor([True, False, True])))) == 2
    assert len(set(digests(torch.zeros(3, 2).bfloat16()))) == 1
