"""Bicubic resizing against weights worked out by hand, Pillow, and figures of a published network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from limbeck.tasks.restoration.bicubic import resized_bicubic
from limbeck.tasks.restoration.quality import cropped, luma, psnr
from shared_data import DATA, needs_data

HALF = [-3, -9, 29, 111, 111, 29, -9, -3]
"""256 times the weights of a line that is halved: Keys' kernel at odd multiples of 1/4, divided by 2.

With h(x) = 1.5 x^3 - 2.5 x^2 + 1 up to 1 and -0.5 x^3 + 2.5 x^2 - 4 x + 2 up to 2, h(1/4) = 111/128,
h(3/4) = 29/128, h(5/4) = -9/128 and h(7/4) = -3/128.
"""


def test_the_weights_are_those_worked_out_by_hand() -> None:
    line = torch.zeros(1, 16, dtype=torch.float64)
    for place, weight in enumerate(HALF):
        line.zero_()[0, 3 + place] = 256
        assert resized_bicubic(line.repeat(2, 1), 2, 8)[0, 3].item() == pytest.approx(weight)


def test_beyond_the_border_is_the_mirror_image() -> None:
    line = torch.arange(8, dtype=torch.float64)[None].repeat(8, 1) ** 2
    mirrored = torch.cat((line.flip(1), line, line.flip(1)), 1)
    inside = resized_bicubic(mirrored, 4, 12)[:, 4:8]
    torch.testing.assert_close(resized_bicubic(line, 4, 4), inside)


def test_enlarging_interpolates_with_the_kernel_itself() -> None:
    line = torch.zeros(4, 8, dtype=torch.float64)
    line[:, 3] = 128
    enlarged = resized_bicubic(line, 4, 16)[0]
    assert enlarged[6:8].tolist() == pytest.approx([111, 111])  # a quarter of a pixel away at both sides
    assert enlarged[[5, 8]].tolist() == pytest.approx([29, 29])
    assert enlarged[[4, 9]].tolist() == pytest.approx([-9, -9])


def test_the_inside_is_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(pixels).resize((20, 10), Image.Resampling.BICUBIC))
    ours = resized_bicubic(torch.from_numpy(pixels)[None], 10, 20)
    assert ours.dtype == torch.uint8
    difference = (ours[0].int() - torch.from_numpy(theirs.astype(np.int32)))[3:-3, 3:-3]
    assert int(difference.abs().max()) <= 1, "Pillow rounds between rows and columns"


def test_levels_are_rounded_and_clipped() -> None:
    edge = torch.zeros(1, 4, 16, dtype=torch.uint8)
    edge[..., 8:] = 255
    shrunk = resized_bicubic(edge, 2, 8)
    assert int(shrunk.min()) == 0
    assert int(shrunk.max()) == 255


VDSR = DATA / "models" / "vdsr" / "vdsr_state_dict.pth"


def vdsr(y: Tensor) -> Tensor:
    """The answer of a network with public weights: luma (H, W) in [0, 1], enlarged bicubically, to luma."""
    weights = torch.load(VDSR, weights_only=True)
    names = ["input", *(f"residual_layer.{number}.conv" for number in range(18)), "output"]
    maps = y[None, None]
    for name in names:
        maps = F.conv2d(maps if name == "input" else maps.relu(), weights[f"{name}.weight"], padding=1)
    return y + maps[0, 0]


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(
    ("scale", "expected", "bicubic"), [(2, 37.36, 32.84), (3, 33.35, 29.53), (4, 30.97, 27.58)]
)
def test_a_published_network_reaches_its_figures(scale: int, expected: float, bicubic: float) -> None:
    ours, plain = [], []
    for name in ("bird", "butterfly", "head", "woman"):
        with Image.open(DATA / "superresolution" / "set5" / f"{name}.png") as picture:
            image = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
        height, width = (side // scale for side in image.shape[1:])
        target = luma(image[:, : scale * height, : scale * width])
        enlarged = resized_bicubic(resized_bicubic(target, height, width), *target.shape)
        with torch.no_grad():
            answer = 255 * vdsr((enlarged / 255).float()).double().clamp(0, 1)
        ours.append(psnr(cropped(answer, scale), cropped(target, scale)))
        plain.append(psnr(cropped(enlarged, scale), cropped(target, scale)))
    assert sum(ours) / 4 == pytest.approx(expected, abs=0.03)
    assert sum(plain) / 4 == pytest.approx(bicubic, abs=0.02)
