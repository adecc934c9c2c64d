"""The detector: what it answers, and where."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from declared import scramble

from limbeck.errors import LimbeckError
from limbeck.features import Tap, find
from limbeck.models import build
from limbeck.models.fcos import FCOS, Pyramid


def small(levels: int = 2) -> FCOS:
    return FCOS([4, 6, 8], levels=levels, width=8, in_channels=3, num_classes=3)


@pytest.mark.parametrize("size", [(32, 48), (33, 50)])
def test_it_answers_at_the_places_of_its_levels(size: tuple[int, int]) -> None:
    network = scramble(small()).eval()
    answers = network(torch.rand(2, 3, *size))
    fine, coarse = ([-(-side // stride) for side in size] for stride in (8, 16))
    count = fine[0] * fine[1] + coarse[0] * coarse[1]
    assert {name: tuple(each.shape) for name, each in answers.items()} == {
        "logits": (2, count, 3),
        "boxes": (2, count, 4),
        "centerness": (2, count),
        "places": (2, count, 3),
    }
    places = answers["places"][1]
    assert places[:2].tolist() == [[4, 4, 8], [12, 4, 8]]
    assert places[fine[1]].tolist() == [4, 12, 8]
    assert places[fine[0] * fine[1]].tolist() == [8, 8, 16]
    x, y = places[:, 0], places[:, 1]
    x1, y1, x2, y2 = answers["boxes"][0].unbind(-1)
    assert (x1 < x).all()
    assert (x < x2).all()
    assert (y1 < y).all()
    assert (y < y2).all()


def test_its_features_are_the_pyramid() -> None:
    network, images = scramble(small()), torch.rand(2, 3, 32, 32)
    points = find(network, images, width=3, dense=True)
    tapped = Tap(network, points, ["boxes", "stages", "embedding"], positions=True)(images)
    assert [tuple(each.shape) for each in tapped.stages] == [(2, 8, 4, 4), (2, 8, 2, 2)]
    assert tapped["boxes"].shape == (2, 20, 4)
    assert isinstance(network.classes, torch.nn.Linear)
    torch.testing.assert_close(network.classes(tapped.embedding), tapped.logits)


def test_coarse_levels_reach_fine_ones() -> None:
    pyramid = Pyramid([2, 3], 4).eval()
    fine, coarse = torch.rand(1, 2, 5, 6), torch.rand(1, 3, 3, 3)
    first, second = pyramid([fine, coarse])
    top = pyramid.lateral[1](coarse)
    torch.testing.assert_close(second, pyramid.smooth[1](top))
    larger = F.interpolate(top, size=(5, 6), mode="nearest")
    torch.testing.assert_close(first, pyramid.smooth[0](pyramid.lateral[0](fine) + larger))


def test_an_untrained_one_finds_nothing_much() -> None:
    answers = small()(torch.rand(2, 3, 32, 32))
    background = answers["logits"].softmax(-1)[..., -1]
    assert (background > 0.97).all()
    assert (background < 0.995).all()


def test_it_is_built_of_the_data_and_needs_a_stage_for_each_level() -> None:
    network = build(
        "fcos(channels=[4, 8], levels=1, width=8)", example=torch.rand(2, 1, 16, 16), num_classes=4
    )
    assert network(torch.rand(1, 1, 20, 24))["logits"].shape == (1, 3 * 3, 4)
    with pytest.raises(LimbeckError, match="a pyramid of 3 levels needs as many stages, not 2"):
        build("fcos(channels=[4, 8])", example=torch.rand(2, 1, 16, 16), num_classes=4)
