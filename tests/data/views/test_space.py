from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from limbeck import data
from limbeck.data.views import parse
from limbeck.data.views.space import Range, mirrored, policy, space
from limbeck.errors import LimbeckError

CROPS = {"crop.padding": Range(0, 4, 1), "cutout.size": Range(0, 16, 2)}
LIGHT = {f"color_jitter.{name}": Range(0, 0.8, 0.1) for name in ("brightness", "contrast")}
OPERATIONS = {"randaugment.operations": Range(0, 3, 1), "randaugment.magnitude": Range(0, 30, 3)}
if not importlib.util.find_spec("torchvision"):
    OPERATIONS = {}


def source(*shape: int, dtype: Any = torch.uint8) -> data.Source:
    return data.from_tensors(torch.ones(20, *shape).to(dtype), torch.arange(20) % 2)


def test_a_range_has_a_value_for_each_step() -> None:
    assert Range(0, 0.8, 0.1).values == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    assert Range(0, 7, 2).values == (0, 2, 4, 6)
    assert Range(3, 3, 1).values == (3,)


def test_the_space_is_what_the_images_allow() -> None:
    saturation = {"color_jitter.saturation": Range(0, 0.8, 0.1)}
    assert space(source(3, 32, 40)) == CROPS | LIGHT | saturation | OPERATIONS
    assert space(source(1, 40, 32)) == CROPS | LIGHT | OPERATIONS
    assert space(source(5, 32, 32)) == CROPS
    assert space(source(3, 32, 32, dtype=torch.float32)) == CROPS
    assert space(source(3, 8, 8, dtype=torch.float32)) == {
        "crop.padding": Range(0, 1, 1),
        "cutout.size": Range(0, 4, 1),
    }
    assert space(source(3, 224, 224))["crop.padding"] == Range(0, 8, 1)
    with pytest.raises(LimbeckError, match="tensors holds no images"):
        space(source(32, dtype=torch.float32))


@pytest.mark.parametrize(
    ("values", "mirror", "text"),
    [
        ({"crop.padding": 0, "cutout.size": 0}, False, "none"),
        ({"crop.padding": 0, "cutout.size": 0}, True, "crop(padding=0, flip=true)"),
        (
            {"crop.padding": 2, "cutout.size": 6, "color_jitter.brightness": 0.0},
            True,
            "crop(padding=2, flip=true) + cutout(size=6, fill=128, count=32)",
        ),
        (
            {
                "crop.padding": 0,
                "cutout.size": 0,
                "color_jitter.brightness": 0.3,
                "color_jitter.contrast": 0,
                "randaugment.operations": 2,
                "randaugment.magnitude": 6,
            },
            False,
            "randaugment(operations=2, magnitude=6, count=32) + "
            "color_jitter(brightness=0.3, contrast=0, saturation=0, count=32)",
        ),
        (
            {"crop.padding": 1, "cutout.size": 0, "randaugment.operations": 2, "randaugment.magnitude": 0},
            False,
            "crop(padding=1)",
        ),
    ],
)
def test_values_stand_for_a_policy(values: dict[str, float], mirror: bool, text: str) -> None:
    assert str(policy(values, mirror=mirror)) == text
    assert parse(text).count == policy(values, mirror=mirror).count


def test_every_policy_of_a_space_can_be_shown() -> None:
    images = torch.randint(0, 256, (4, 3, 9, 9), dtype=torch.uint8)
    found = space(data.from_tensors(images, torch.arange(4) % 2, validation=None))
    for end in (0, -1):
        views = policy({name: range_.values[end] for name, range_ in found.items()}, mirror=False)
        if "randaugment" in str(views):
            pytest.importorskip("torchvision")
        shown = views.render(images, torch.arange(4), torch.arange(4) * 7 % views.count)
        assert isinstance(shown, torch.Tensor)
        assert torch.equal(shown, images) == (end == 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("none", False), ("crop", False), ("crop(flip=true)", True), ("cutout + crop(flip=true)", True)],
)
def test_mirror_images_are_left_as_the_data_has_them(text: str, expected: bool) -> None:
    assert mirrored(parse(text)) is expected
