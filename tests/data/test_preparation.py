from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from limbeck import data
from limbeck.data.preparation import AS_RENDERED, Preparation
from limbeck.errors import LimbeckError


def prepared(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    made = Preparation(size)(images)
    assert isinstance(made, Tensor)
    return made


def test_shrinking_is_a_weighted_mean_of_all_pixels() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8) / 8
    assert torch.allclose(prepared(ramp, 8), ramp)
    small = prepared(ramp, 4)[0, 0]
    # A triangle of four pixels a side: weights 1, 3, 3, 1 over 8; at the border those inside, over 7.
    row = torch.tensor([(3 * 0 + 3 * 1 + 2) / 7, 2.5, 4.5, (5 + 3 * 6 + 3 * 7) / 7]) / 8
    assert torch.allclose(small, row.expand(4, 4))


def test_growing_is_linear_between_pixels() -> None:
    images = torch.tensor([[[[0.0, 1.0]]]])
    assert torch.allclose(prepared(images, (1, 4)), torch.tensor([[[[0.0, 0.25, 0.75, 1.0]]]]))
    assert prepared(torch.rand(2, 3, 5, 6), (7, 9)).shape == (2, 3, 7, 9)


def test_a_checkerboard_that_shrinks_is_gray() -> None:
    board = (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).float()[None, None]
    assert (prepared(board, 4)[..., 1:3, 1:3] - 0.5).abs().max() < 1e-6, "no pattern that was not there"


def test_inputs_of_the_size_asked_for_are_passed_on() -> None:
    images = torch.rand(2, 3, 5, 5)
    assert Preparation(5)(images) is images
    assert AS_RENDERED(images) is images


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        (torch.rand(4, 3), "table"),
        (torch.ones(4, 3, dtype=torch.int64), "text"),
        ({"input_ids": torch.ones(4, 3, dtype=torch.int64)}, "text"),
        (torch.rand(4, 3, 5), "other"),
    ],
)
def test_inputs_without_a_size_are_refused(inputs: Any, kind: str) -> None:
    assert AS_RENDERED(inputs) is inputs
    with pytest.raises(LimbeckError, match=rf"size=8 is the resolution of .* no images \({kind}\)"):
        Preparation(8)(inputs)


@pytest.mark.parametrize("size", [0, -1, (3,), (3, 0), (3, 4, 5), True, 2.5, "8"])
def test_sizes_that_are_none_are_refused(size: Any) -> None:
    with pytest.raises(LimbeckError, match=r"size should be a number of pixels, or \(height, width\)"):
        Preparation(size)


def test_a_source_shows_examples_as_a_network_reads_them() -> None:
    source = data.load("digits")
    plain, large = source.example(), source.example(3, Preparation((16, 12)))
    assert isinstance(plain, Tensor)
    assert isinstance(large, Tensor)
    assert large.shape == (3, 1, 16, 12)
    assert torch.equal(large[:2], prepared(plain, (16, 12)))
    with pytest.raises(LimbeckError, match=r"size=8 .* \(table\)"):
        data.load("iris").example(preparation=Preparation(8))


def test_what_is_not_prepared_is_recognized() -> None:
    for size, images in (
        (None, torch.rand(2, 3, 5, 5)),
        (5, torch.rand(2, 3, 5, 5)),
        (None, torch.rand(2, 3)),
    ):
        Preparation(size).check(images, "big")
    with pytest.raises(
        LimbeckError, match=r"big reads 8 x 9 pixels, and the batch holds 5 x 5 pixels .*'big': "
    ):
        Preparation((8, 9)).check(torch.rand(2, 3, 5, 5), "big")
