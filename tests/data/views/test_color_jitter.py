from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from limbeck.data.views.color_jitter import ColorJitter
from limbeck.errors import LimbeckError

IMAGES = torch.randint(0, 256, (50, 3, 6, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
INDEX, VIEW = torch.arange(50), torch.arange(50) * 3 + 1


def shown(views: ColorJitter, images: Tensor = IMAGES, index: Tensor = INDEX, view: Tensor = VIEW) -> Tensor:
    made = views.render(images, index, view)
    assert isinstance(made, Tensor)
    assert made.dtype == torch.uint8
    return made


def gray(images: Tensor) -> Tensor:
    return (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)


def fitted(made: Tensor, images: Tensor, other: Tensor) -> Tensor:
    """The factor f of other + f * (image - other), by least squares over unclipped pixels of each image."""
    inside = (made > 0) & (made < 255)
    x, y = (images - other) * inside, (made - other) * inside
    return (x * y).flatten(1).sum(1) / (x * x).flatten(1).sum(1)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_change_is_what_it_says(name: str) -> None:
    strengths: dict[str, Any] = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, name: 0.5}
    made, images = shown(ColorJitter(**strengths)).float(), IMAGES.float()
    other = {
        "brightness": torch.zeros_like(images),
        "contrast": gray(images).mean((1, 2, 3), keepdim=True).expand_as(images),
        "saturation": gray(images).expand_as(images),
    }[name]
    factor = fitted(made, images, other)
    assert 0.5 <= factor.min() < 0.6
    assert 1.4 < factor.max() <= 1.5
    expected = (other + factor[:, None, None, None] * (images - other)).clamp(0, 255)
    assert (made - expected).abs().max() < 2  # rounding


def test_they_differ_in_their_factors_and_come_one_after_the_other() -> None:
    bright = shown(ColorJitter(0.5, 0, 0))
    both = shown(ColorJitter(0.5, 0.5, 0))
    assert torch.equal(both, shown(ColorJitter(0, 0.5, 0), bright))
    one = fitted(bright.float(), IMAGES.float(), torch.zeros(50, 3, 6, 7))
    mean = gray(IMAGES.float()).mean((1, 2, 3), keepdim=True).expand(-1, 3, 6, 7)
    other = fitted(shown(ColorJitter(0, 0.5, 0)).float(), IMAGES.float(), mean)
    assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 0.4


def test_it_is_a_function_of_index_and_view() -> None:
    made = shown(ColorJitter())
    assert torch.equal(shown(ColorJitter(), IMAGES[7:9], INDEX[7:9], VIEW[7:9]), made[7:9])
    assert not torch.equal(shown(ColorJitter(), index=INDEX + 1), made)
    assert not torch.equal(shown(ColorJitter(), view=VIEW + 1), made)
    assert torch.equal(shown(ColorJitter(), view=VIEW * 0), IMAGES)


def test_a_gray_image_has_no_saturation() -> None:
    one = IMAGES[:, :1]
    assert torch.equal(shown(ColorJitter(0, 0, 1), one), one)
    assert not torch.equal(shown(ColorJitter(0, 1, 0), one), one)


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 4, 4), torch.zeros(2, 2, 4, 4, dtype=torch.uint8)])
def test_refuses_other_images(images: Tensor) -> None:
    with pytest.raises(LimbeckError, match="need uint8 images of 1 or 3 channels"):
        shown(ColorJitter(), images)
