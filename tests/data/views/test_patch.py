from __future__ import annotations

import pytest
import torch

from limbeck import LimbeckError
from limbeck.data.views import parse
from limbeck.data.views.patch import Patch

INDEX = torch.arange(40)


def test_input_and_target_are_cut_and_turned_alike() -> None:
    low = torch.arange(40 * 7 * 9).view(40, 1, 7, 9).float()
    high = low.repeat_interleave(3, 2).repeat_interleave(3, 3).long()
    views = Patch(4, 4, scale=3)
    for number in range(1, 20):
        view = torch.full_like(INDEX, number)
        shown = views.render(low, INDEX, view)
        assert isinstance(shown, torch.Tensor)
        target = views.render_target(high, INDEX, view, ignored=-1)
        assert shown.shape == (40, 1, 4, 4)
        assert target.shape == (40, 1, 12, 12)
        assert torch.equal(target[:, :, ::3, ::3].float(), shown)
        assert torch.equal(target, shown.long().repeat_interleave(3, 2).repeat_interleave(3, 3))
        assert torch.equal(views.render_target(high[:, 0], INDEX, view, ignored=-1), target[:, 0])


def test_all_eight_turns_and_all_places_are_shown() -> None:
    image = torch.arange(9).view(1, 1, 3, 3).float().repeat(400, 1, 1, 1)
    index = torch.zeros(400, dtype=torch.int64)
    shown = Patch(2, 2).render(image, index, torch.arange(1, 401))
    assert isinstance(shown, torch.Tensor)
    assert len({tuple(each.flatten().tolist()) for each in shown}) == 4 * 8
    plain = Patch(2, 2, turn=False).render(image, index, torch.arange(1, 401))
    assert isinstance(plain, torch.Tensor)
    assert len({tuple(each.flatten().tolist()) for each in plain}) == 4


def test_view_0_is_the_middle_and_a_view_depends_on_index_and_number_alone() -> None:
    image = torch.rand(2, 3, 8, 10)
    views = Patch(4, 6)
    index = torch.tensor([5, 9])
    middle = views.render(image, index, torch.zeros(2, dtype=torch.int64))
    assert torch.equal(middle, image[:, :, 2:6, 2:8])  # type: ignore[arg-type]
    both = views.render(image, index, torch.tensor([3, 4]))
    alone = views.render(image[1:], index[1:], torch.tensor([4]))
    assert torch.equal(both[1:], alone)  # type: ignore[index, arg-type]


def test_it_is_written_and_read() -> None:
    views = parse("patch(height=32, width=32, scale=2)")
    assert views == Patch(32, 32, 2)
    assert parse(str(views)) == views


def test_bad_arguments_and_small_images_are_refused() -> None:
    with pytest.raises(LimbeckError, match="patch needs a scale that is a whole number, at least 1, not 0"):
        Patch(scale=0)
    with pytest.raises(LimbeckError, match="show 9 x 4 pixels, and the images have 8 x 8; take smaller"):
        Patch(9, 4).render(torch.zeros(1, 1, 8, 8), torch.zeros(1).long(), torch.zeros(1).long())
