from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.data.views import ScaledCrop, parse
from limbeck.errors import LimbeckError

IMAGES = torch.randint(0, 256, (1, 3, 9, 11), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def shown(views: ScaledCrop, images: Tensor, view: Tensor) -> Tensor:
    made = views.render(images.expand(len(view), -1, -1, -1), torch.zeros_like(view), view)
    assert isinstance(made, Tensor)
    return made


def moved(views: ScaledCrop, maps: Tensor, view: Tensor) -> Tensor:
    return views.render_target(maps.expand(len(view), -1, -1), torch.zeros_like(view), view, ignored=255)


def test_view_0_is_the_middle_as_it_is() -> None:
    views = ScaledCrop(5, 7)
    assert torch.equal(shown(views, IMAGES, torch.tensor([views.base])), IMAGES[:, :, 2:7, 2:9])
    wide = shown(ScaledCrop(9, 13), IMAGES, torch.tensor([0]))
    assert torch.equal(wide[..., 1:12], IMAGES)
    assert int(wide[..., 0].sum() + wide[..., 12].sum()) == 0


def test_at_scale_1_views_are_all_windows_and_their_mirror_images() -> None:
    views = ScaledCrop(7, 10, low=1, high=1, count=400)
    found = {bytes(view.numpy().tobytes()) for view in shown(views, IMAGES, torch.arange(400))}
    windows = [IMAGES[0, :, down : down + 7, right : right + 10] for down in range(3) for right in range(2)]
    assert found == {
        each.contiguous().numpy().tobytes() for window in windows for each in (window, window.flip(2))
    }


@pytest.mark.parametrize("factor", [0.5, 1.5, 2.0])
def test_scaling_is_bilinear_and_by_nearest_for_maps(factor: float) -> None:
    sides = [round(factor * side + 1e-9) for side in (8, 12)]
    images = torch.randint(
        0, 256, (1, 3, 8, 12), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
    )
    views = ScaledCrop(sides[0], sides[1], low=factor, high=factor, flip=False, count=2)
    made = shown(views, images, torch.tensor([1])).double()
    expected = F.interpolate(images.double(), scale_factor=factor, mode="bilinear")
    assert (made - expected).abs().max() <= 1  # places are rounded to a 256th of a pixel
    floats = shown(views, images / 255, torch.tensor([1])).double()
    assert (255 * floats - expected).abs().max() <= 1
    maps = images[:, 0].long()
    nearest = F.interpolate(maps[None].double(), scale_factor=factor, mode="nearest-exact")[0].long()
    assert torch.equal(moved(views, maps, torch.tensor([1])), nearest)


def test_maps_move_as_pixels_do() -> None:
    # The brightness rises with the class, so that a pixel between two is within half a step of the nearest.
    rising = torch.arange(24).expand(24, 24)
    views, view = ScaledCrop(20, 16, low=0.5, high=2, count=200), torch.arange(200)
    for maps in (rising[None], rising.T[None]):
        images = (maps * 10 + 5)[:, None].to(torch.uint8)
        pixels, targets = shown(views, images, view)[:, 0].long(), moved(views, maps, view)
        inside = targets != 255
        assert torch.equal(inside, pixels != 0)
        assert (pixels - (10 * targets + 5))[inside].abs().max() <= 6
        assert set(targets[inside].tolist()) == set(range(24))
    assert (inside.flatten(1).double().mean(1) < 1).any()


def test_it_is_a_function_of_index_and_view_and_text() -> None:
    views = ScaledCrop(4, 5, low=0.5, high=1.25, flip=False, count=64)
    assert parse(str(views)) == views
    assert parse("scaled_crop(height=4, width=5)") == ScaledCrop(4, 5, 0.5, 2.0, True, 2**20)
    images = IMAGES.expand(8, -1, -1, -1)
    index, view = torch.arange(8), torch.arange(1, 9)
    first = views.render(images, index, view)
    back = views.render(images, index.flip(0), view.flip(0))
    assert isinstance(first, Tensor)
    assert isinstance(back, Tensor)
    assert torch.equal(first, back.flip(0))
    assert len({each.numpy().tobytes() for each in first}) == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scaled_crop(height=0, width=4)", "needs a height and a width of whole pixels"),
        ("scaled_crop(height=4, width=4, low=2, high=1)", "0.1 <= low <= high <= 10"),
        ("scaled_crop(height=4, width=4, count=0)", "count between 1 and"),
        ("scaled_crop(height=4)", "needs width"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        parse(text)
