from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from limbeck.tasks.restoration.quality import cropped, luma, psnr, ssim


def test_the_luma_of_white_black_and_green() -> None:
    colors = torch.tensor([[255, 255, 255], [0, 0, 0], [0, 255, 0]], dtype=torch.uint8)
    images = colors[:, :, None, None].expand(3, 3, 2, 2)
    found = luma(images)
    assert found.shape == (3, 2, 2)
    assert found[:, 0, 0].tolist() == pytest.approx([235, 16, 16 + 128.553])
    gray = torch.full((1, 2, 2), 77, dtype=torch.uint8)
    assert luma(gray).tolist() == [[77, 77], [77, 77]]


def test_psnr_is_that_of_the_definition_and_of_torchmetrics() -> None:
    image, target = torch.full((4, 4), 10.0), torch.full((4, 4), 15.0)
    assert psnr(image, target) == pytest.approx(10 * math.log10(255**2 / 25))
    assert psnr(image, image) == math.inf
    draw = torch.Generator().manual_seed(0)
    first, second = (255 * torch.rand(20, 30, generator=draw) for _ in range(2))
    theirs = peak_signal_noise_ratio(first, second, data_range=255.0)
    assert psnr(first, second) == pytest.approx(float(theirs), rel=1e-5)


def test_ssim_is_that_of_torchmetrics() -> None:
    draw = torch.Generator().manual_seed(0)
    first = 255 * torch.rand(24, 31, generator=draw, dtype=torch.float64)
    second = (first + 40 * torch.randn(24, 31, generator=draw, dtype=torch.float64)).clamp(0, 255)
    _, whole = structural_similarity_index_measure(
        first[None, None], second[None, None], data_range=255.0, return_full_image=True
    )
    theirs = whole[0, 0, 5:-5, 5:-5].mean()  # it mirrors the image beyond its borders, the paper does not
    assert ssim(first, second) == pytest.approx(float(theirs), rel=1e-6)
    assert ssim(first, first) == pytest.approx(1)
    assert math.isnan(ssim(first[:10], second[:10])), "no window of 11 x 11 fits"


def test_borders_are_cut_where_something_is_left() -> None:
    image = torch.arange(30.0).view(5, 6)
    assert cropped(image, 2).tolist() == [[14, 15]]
    assert cropped(image, 0) is not None
    assert cropped(image, 0).shape == (5, 6)
    assert cropped(image, 3).shape == (5, 6)
