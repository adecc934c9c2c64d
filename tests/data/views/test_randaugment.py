from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from limbeck.data.views.randaugment import RandAugment
from limbeck.errors import LimbeckError

needs_torchvision = pytest.mark.skipif(find_spec("torchvision") is None, reason="needs torchvision")

IMAGES = torch.randint(0, 256, (60, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
INDEX = torch.arange(60)


def shown(views: RandAugment, index: Tensor = INDEX, view: Tensor = INDEX) -> Tensor:
    made = views.render(IMAGES[index], index, view)
    assert isinstance(made, Tensor)
    assert made.dtype == torch.uint8
    return made


def test_without_torchvision_it_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> None:
        raise ModuleNotFoundError(name=name.split(".")[0])

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(LimbeckError, match=r"torchvision is not installed; `pip install 'limbeck\[zoo\]'`"):
        shown(RandAugment())


@needs_torchvision
def test_it_is_a_function_of_index_and_view() -> None:
    views, view = RandAugment(), INDEX % 7
    state = torch.get_rng_state()
    made = shown(views, view=view)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(made[0], IMAGES[0])
    same = (made == IMAGES).flatten(1).all(1)
    assert same[view == 0].all()
    assert same[view != 0].float().mean() < 0.2  # an operation of 14 changes nothing
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    assert torch.equal(shown(views, INDEX[order], view[order]), made[order])
    assert not torch.equal(shown(views, view=view + 1), made)


@needs_torchvision
def test_a_batch_is_shown_as_its_images_are_one_by_one() -> None:
    made = shown(RandAugment(operations=3), view=INDEX + 1)
    alone = [shown(RandAugment(operations=3), INDEX[at : at + 1], INDEX[at : at + 1] + 1) for at in range(60)]
    assert torch.equal(made, torch.cat(alone))


@needs_torchvision
def test_operations_are_torchvision_s() -> None:
    functional = importlib.import_module("torchvision.transforms.v2.functional")
    made = shown(RandAugment(operations=1, magnitude=15), view=INDEX + 1)
    known = [
        IMAGES,
        functional.posterize(IMAGES, 6),
        functional.solarize(IMAGES, 127.5),
        functional.autocontrast(IMAGES),
        functional.equalize(IMAGES),
        *(functional.rotate(IMAGES, angle) for angle in (15, -15)),
        *(functional.adjust_brightness(IMAGES, factor) for factor in (1.45, 0.55)),
        *(functional.adjust_saturation(IMAGES, factor) for factor in (1.45, 0.55)),
        *(functional.adjust_contrast(IMAGES, factor) for factor in (1.45, 0.55)),
        *(functional.adjust_sharpness(IMAGES, factor) for factor in (1.45, 0.55)),
        *(functional.affine(IMAGES, 0, [step, 0], 1, [0, 0]) for step in (3, -3)),
        *(functional.affine(IMAGES, 0, [0, step], 1, [0, 0]) for step in (3, -3)),
    ]
    found = torch.stack([(made == each).flatten(1).all(1) for each in known])
    assert found.any(1).sum() > 14  # most come in 60 draws of 28
    sheared = ~found.any(0)
    assert 0 < sheared.float().mean() < 0.35  # 2 of 14


COLORS = (
    *(f"adjust_{name}" for name in ("brightness", "saturation", "contrast", "sharpness")),
    *("posterize", "solarize", "autocontrast", "equalize"),
)
MASKS = IMAGES[:, 0].long() % 5 + 1


@needs_torchvision
def test_maps_move_with_the_pixels_to_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    functional = importlib.import_module("torchvision.transforms.v2.functional")
    for name in COLORS:  # so that a pixel still says which class it is of
        monkeypatch.setattr(functional, name, lambda images, *given: images)
    views, view = RandAugment(operations=3, magnitude=20), INDEX + 1
    images = MASKS[:, None].to(torch.uint8).expand(-1, 3, -1, -1)
    pixels = views.render(images, INDEX, view)
    assert isinstance(pixels, Tensor)
    moved = views.render_target(MASKS, INDEX, view, ignored=-100)
    assert moved.dtype == torch.int64
    assert torch.equal(moved.where(moved != -100, 0), pixels[:, 0].long())
    assert (moved == -100).any()
    assert (moved != MASKS).flatten(1).any(1).float().mean() > 0.5


@needs_torchvision
def test_maps_stay_where_colors_change(monkeypatch: pytest.MonkeyPatch) -> None:
    functional = importlib.import_module("torchvision.transforms.v2.functional")
    for name in ("affine", "rotate"):
        monkeypatch.setattr(functional, name, lambda images, *given, **named: images)
    assert not torch.equal(shown(RandAugment(), view=INDEX + 1), IMAGES)
    assert torch.equal(RandAugment().render_target(MASKS, INDEX, INDEX + 1, ignored=-100), MASKS)


def test_maps_get_the_same_operations_without_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    """With functions that stand in for torchvision's: each moves by whole pixels, or brightens."""

    def moved(images: Tensor, *given: object, fill: int | None = None, **named: object) -> Tensor:
        window = torch.roll(images, 1, dims=-1)
        window[..., 0] = fill or 0
        return window

    functional = SimpleNamespace(affine=moved, rotate=moved)
    vars(functional).update({name: lambda images, *given: images | 128 for name in COLORS})
    monkeypatch.setattr("limbeck.data.views.randaugment.imported", lambda module, extra: functional)
    views = RandAugment(operations=4)
    images = MASKS[:, None].to(torch.uint8).expand(-1, 3, -1, -1)
    pixels = views.render(images, INDEX, INDEX)
    assert isinstance(pixels, Tensor)
    maps = views.render_target(MASKS, INDEX, INDEX, ignored=-100)
    assert torch.equal(maps.where(maps != -100, 0), pixels[:, 0].long() & 127)
    assert torch.equal(maps[0], MASKS[0])
    assert set(maps[:, :, 0].flatten().tolist()) == {-100, 1, 2, 3, 4, 5}
