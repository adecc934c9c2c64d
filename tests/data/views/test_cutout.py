from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limbeck.data.views.cutout import Cutout
from limbeck.errors import LimbeckError


def shown(views: Cutout, images: Tensor, index: Tensor, view: Tensor) -> Tensor:
    made = views.render(images, index, view)
    assert isinstance(made, Tensor)
    return made


@pytest.mark.parametrize("size", [1, 2, 3, 5, 40])
def test_it_paints_one_square_around_a_pixel(size: int) -> None:
    images = torch.zeros(400, 2, 6, 9, dtype=torch.uint8)
    view = torch.arange(400)
    painted = shown(Cutout(size, fill=77, count=400), images, torch.zeros_like(view), view)
    assert set(painted.flatten().tolist()) == {0, 77}
    assert not painted[0].any()
    middles = set()
    for image in painted[1:]:
        assert torch.equal(image[0], image[1])
        rows, columns = image[0].any(1).nonzero().flatten(), image[0].any(0).nonzero().flatten()
        assert (image[0] > 0).sum() == len(rows) * len(columns)
        possible = [
            (down, right)
            for down in range(6)
            for right in range(9)
            if [r for r in range(down - size // 2, down - size // 2 + size) if 0 <= r < 6] == rows.tolist()
            and [c for c in range(right - size // 2, right - size // 2 + size) if 0 <= c < 9]
            == columns.tolist()
        ]
        assert possible
        middles.update(possible)
    assert len(middles) == 54  # any pixel is the middle of some view


def test_it_is_a_function_of_index_and_view() -> None:
    images = torch.rand(64, 3, 8, 8)
    index, view = torch.arange(64), torch.arange(64).flip(0) + 1
    views = Cutout(4)
    first = shown(views, images, index, view)
    back = shown(views, images.flip(0), index.flip(0), view.flip(0)).flip(0)
    assert torch.equal(first, back)
    assert torch.equal(shown(views, images[5:6], index[5:6], view[5:6]), first[5:6])
    assert not torch.equal(shown(views, images, index + 1, view), first)
    assert not torch.equal(shown(views, images, index, view + 1), first)
    assert (first == torch.tensor(128 / 255)).any()


def test_refuses_what_is_no_image() -> None:
    with pytest.raises(LimbeckError, match=r'views "cutout\(size=8.*" need images'):
        Cutout().render(torch.zeros(2, 5), torch.zeros(2), torch.zeros(2))
