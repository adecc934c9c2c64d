from __future__ import annotations

import pytest
import torch

from limbeck.data.views.order import nth_view, place_of


@pytest.mark.parametrize("count", [1, 2, 3, 9, 81, 162, 997, 1000])
def test_the_order_of_each_sample_has_every_view_once(count: int) -> None:
    index = torch.tensor([0, 1, 2, 49_999])[:, None]
    places = torch.arange(count)[None].expand(4, -1)
    views = nth_view(index, places, count)
    assert torch.equal(views.sort(1).values, places)
    assert torch.equal(place_of(index, views, count), places)


def test_the_largest_count_does_not_overflow() -> None:
    index, places = torch.arange(100), torch.arange(100) * 21_474_836
    views = nth_view(index, places, 2**31)
    assert (views >= 0).all()
    assert (views < 2**31).all()
    assert torch.equal(place_of(index, views, 2**31), places)


@pytest.mark.parametrize("among", [1, 2, 4, 16])
def test_the_first_views_are_spread_over_the_policy(among: int) -> None:
    index = torch.arange(20_000)[:, None]
    views = nth_view(index, torch.arange(among)[None], 162)
    used = views.flatten().bincount(minlength=162)
    assert used.min() > 0.6 * used.float().mean(), "no view is left out, or preferred"
    assert used.max() < 1.4 * used.float().mean()
    ordered = views.sort(1).values
    gaps = torch.cat([ordered, ordered[:, :1] + 162], dim=1).diff(dim=1)
    assert gaps.min() >= 162 / (6 * among), "the views of a sample are far from each other"


def test_the_order_is_the_same_in_every_process_and_release() -> None:
    index, place = torch.tensor([0, 1, 2, 49_999]), torch.arange(4)
    assert nth_view(index, place, 162).tolist() == [113, 85, 10, 89]
