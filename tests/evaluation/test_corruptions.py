from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from limbeck import data
from limbeck.errors import LimbeckError
from limbeck.evaluation import SEVERITIES, corrupt, corruptions

INDEX = torch.arange(6)


def images(channels: int = 3, n: int = 6, side: int = 16) -> Tensor:
    """Smooth images with values all over [0, 1]."""
    pixels = torch.rand(n, channels, side // 4, side // 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(pixels, size=side, mode="bilinear")


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", SEVERITIES)
def test_an_image_looks_the_same_in_any_batch(kind: str, channels: int) -> None:
    whole = corrupt(images(channels), kind, 3, INDEX, seed=5)
    assert whole.shape == (6, channels, 16, 16)
    assert whole.dtype == torch.float32
    assert whole.min() >= 0
    assert whole.max() <= 1
    order = torch.tensor([4, 1])
    torch.testing.assert_close(
        corrupt(images(channels)[order], kind, 3, INDEX[order], seed=5), whole[order], atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("kind", SEVERITIES)
def test_more_severe_is_further_away(kind: str) -> None:
    clean = images() * 0.6 + 0.2
    before = clean.clone()
    away = [float((corrupt(clean, kind, level, INDEX) - clean).square().mean()) for level in range(1, 6)]
    assert away == sorted(away)
    assert away[0] > 0
    assert torch.equal(clean, before)


@pytest.mark.parametrize("kind", ["gaussian_noise", "salt_and_pepper"])
def test_noise_is_of_the_seed_the_severity_and_the_index(kind: str) -> None:
    clean = torch.full((2, 1, 40, 40), 0.5)
    same = corrupt(clean, kind, 1, torch.tensor([3, 4]))
    assert not torch.equal(same[0], same[1])
    assert not torch.equal(same, corrupt(clean, kind, 1, torch.tensor([3, 4]), seed=1))
    scaled = (corrupt(clean, kind, 2, torch.tensor([3, 4])) - 0.5).sign()
    assert not torch.equal(scaled, (same - 0.5).sign())


def test_noise_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    for kind in SEVERITIES:
        corrupt(images(), kind, 1, INDEX)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("level", range(1, 6))
def test_gaussian_noise_has_its_deviation(level: int) -> None:
    noise = corrupt(torch.full((4, 3, 64, 64), 0.5), "gaussian_noise", level, torch.arange(4)) - 0.5
    sigma = SEVERITIES["gaussian_noise"][level - 1]
    assert noise.std().item() == pytest.approx(sigma, rel=0.02)
    assert abs(noise.mean().item()) < sigma / 20
    beyond = (noise.abs() > 1.96 * sigma).double().mean().item()
    assert beyond == pytest.approx(0.05, abs=0.006)


def test_salt_and_pepper_in_equal_parts() -> None:
    shown = corrupt(torch.full((8, 3, 64, 64), 0.5), "salt_and_pepper", 5, torch.arange(8))
    assert (shown == 0).double().mean().item() == pytest.approx(0.035, abs=0.003)
    assert (shown == 1).double().mean().item() == pytest.approx(0.035, abs=0.003)
    assert set(shown.flatten().tolist()) == {0.0, 0.5, 1.0}


@pytest.mark.parametrize("level", range(1, 6))
def test_the_blur_is_scipys(level: int) -> None:
    clean = images()
    sigma = SEVERITIES["gaussian_blur"][level - 1]
    expected = gaussian_filter(clean.double().numpy(), sigma=(0, 0, sigma, sigma), mode="nearest", truncate=4)
    found = corrupt(clean, "gaussian_blur", level, INDEX)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_contrast_by_hand() -> None:
    clean = torch.tensor([[[[0.2, 0.4], [0.6, 1.0]]]])  # mean 0.55
    expected = torch.tensor([[[[0.375, 0.475], [0.575, 0.775]]]])
    torch.testing.assert_close(corrupt(clean, "contrast", 2, torch.zeros(1).long()), expected)


def test_brightness_keeps_hue_and_saturation() -> None:
    pixels = torch.tensor([[0.2, 0.4, 0.1], [0.0, 0.0, 0.0], [0.9, 0.45, 0.0], [1.0, 1.0, 1.0]])
    expected = torch.tensor([[0.3, 0.6, 0.15], [0.2, 0.2, 0.2], [1.0, 0.5, 0.0], [1.0, 1.0, 1.0]])
    found = corrupt(pixels.T.reshape(1, 3, 2, 2), "brightness", 4, torch.zeros(1).long())
    torch.testing.assert_close(found.view(3, 4).T, expected)


def test_jpeg_is_pillows() -> None:
    clean = (images() * 255).round() / 255
    found = corrupt(clean, "jpeg", 5, INDEX)
    file = io.BytesIO()
    Image.fromarray((clean[2] * 255).round().byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=40)
    expected = np.asarray(Image.open(file)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(found[2].numpy(), expected, atol=1e-6)


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(LimbeckError, match="unknown kind of noise 'gaussian'; did you mean"):
        corrupt(images(), "gaussian", 1, INDEX)


def test_a_table_gets_noise_in_its_own_units() -> None:
    source = data.load("wine")
    (noise,) = corruptions(source).values()
    rows = source.train.samples.take(source.train.index, source.train.index)
    assert isinstance(rows, Tensor)
    difference = noise(rows, 5, source.train.index) - rows
    relative = difference / torch.tensor(source.std)
    assert relative.std().item() == pytest.approx(0.5, rel=0.05)
    torch.testing.assert_close(noise(rows[3:4], 5, source.train.index[3:4]), rows[3:4] + difference[3:4])


def test_only_pixels_and_tables_get_noise() -> None:
    source = data.load("digits")
    assert list(corruptions(source)) == list(SEVERITIES)
    assert corruptions(replace(source, kind="other")) == {}
    standardized = data.from_tensors(torch.randn(20, 1, 4, 4), torch.arange(20) % 2)
    assert corruptions(standardized) == {}
