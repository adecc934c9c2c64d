from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limbeck.data.synthetic.compose import compose, places
from limbeck.data.synthetic.glyphs import Glyphs

LEVELS = (torch.tensor([20, 30]) + 23 * torch.arange(10)[:, None]).flatten()
"""Brightness of the two scans of each digit."""


def blocks() -> Glyphs:
    """Two scans of each digit, blocks whose brightness tells which they are."""
    scans = torch.zeros(20, 1, 10, 8, dtype=torch.uint8)
    scans[:, 0, 1:9, 1:7] = LEVELS.to(torch.uint8)[:, None, None]
    return Glyphs(scans, torch.arange(10).repeat_interleave(2))


def scans_in(images: Tensor, count: int) -> Tensor:
    """(N, count) which of the 20 scans are in images of blocks, read off the middle of each place."""
    cell = 32 // count
    middles = (32 - count * cell) // 2 + cell * torch.arange(count) + cell // 2
    distance = (images[:, 0, 16, middles].long()[..., None] - LEVELS).abs()
    assert distance.amin(2).max() < 5
    return distance.argmin(2)


@pytest.mark.parametrize(
    ("classes", "count"), [(2, 1), (10, 1), (11, 2), (100, 2), (101, 3), (1000, 3), (1001, 4), (10_000, 4)]
)
def test_an_image_shows_its_number_with_leading_zeros(classes: int, count: int) -> None:
    assert places(classes) == count
    labels = torch.linspace(0, classes - 1, 300).long()
    images = compose(blocks(), labels, classes, torch.Generator().manual_seed(1))
    assert images.shape == (300, 1, 32, 32)
    assert images.dtype == torch.uint8
    digits = scans_in(images, count) // 2
    assert (digits * 10 ** torch.arange(count - 1, -1, -1)).sum(1).tolist() == labels.tolist()


def test_glyphs_are_drawn_anew_for_every_digit() -> None:
    images = compose(blocks(), torch.full((2000,), 55), 100, torch.Generator().manual_seed(1))
    first, second = (scans_in(images, 2) % 2).unbind(1)
    pairs = (2 * first + second).bincount(minlength=4) / 2000
    assert (pairs - 0.25).abs().max() < 0.05, "each pair of scans in a quarter of the images"


def test_glyphs_stray() -> None:
    images = compose(blocks(), torch.full((500,), 9), 10, torch.Generator().manual_seed(1)).float()
    mass = images.sum((1, 2, 3))
    rows = (images.sum(3)[:, 0] * torch.arange(32)).sum(1) / mass
    columns = (images.sum(2)[:, 0] * torch.arange(32)).sum(1) / mass
    assert rows.mean().item() == pytest.approx(15.5, abs=0.2)
    assert columns.mean().item() == pytest.approx(15.5, abs=0.2)
    assert 0.9 < rows.std().item() < 1.5  # uniform within 2: 1.15
    assert 0.4 < columns.std().item() < 0.8  # uniform within 1: 0.58


def test_the_generator_decides() -> None:
    labels = torch.arange(100)
    first, again, other = (
        compose(blocks(), labels, 100, torch.Generator().manual_seed(s)) for s in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    compose(blocks(), torch.arange(10), 10, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
