"""Boxes move as the pixels of a view do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limbeck.data import Loader, Split
from limbeck.data.storage.base import Resident
from limbeck.data.views import parse
from limbeck.errors import LimbeckError
from limbeck.tasks import Detection

SIZE = 12, 16
BOXES = torch.tensor([[3.0, 2, 9, 7], [11, 5, 16, 12], [0, 8, 5, 12]])


def painted(box: Tensor) -> Tensor:
    """A float image (1, H, W), 1 in the box and 0 around it."""
    image = torch.zeros(1, *SIZE)
    x1, y1, x2, y2 = map(int, box.tolist())
    image[:, y1:y2, x1:x2] = 1
    return image


def around(image: Tensor) -> list[float]:
    """The box around what is not black in an image; zeros for nothing."""
    rows, columns = (image[0] > 0.5).any(1).nonzero().flatten(), (image[0] > 0.5).any(0).nonzero().flatten()
    if not len(rows):
        return [0.0] * 4
    return [float(each) for each in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]


@pytest.mark.parametrize(
    "policy", ["crop(padding=5, flip=true)", "crop(padding=2) + crop(padding=3, flip=true)"]
)
def test_crops_and_mirrors_to_the_pixel(policy: str) -> None:
    views = parse(policy)
    view = torch.arange(0, views.count, max(1, views.count // 300))
    index = torch.zeros_like(view)
    for box in BOXES:
        images = views.render(painted(box).expand(len(view), 1, *SIZE), index, view)
        moved, size = views.render_boxes(box.expand(len(view), 1, 4), SIZE, index, view)
        assert size == SIZE
        assert isinstance(images, Tensor)
        for image, its in zip(images, moved[:, 0], strict=True):
            flat = bool((its[2:] <= its[:2]).any())
            assert around(image) == ([0.0] * 4 if flat else its.tolist())


def test_scales_within_a_pixel() -> None:
    views = parse("scaled_crop(height=10, width=14, low=0.8, high=2.0, count=200)")
    view = torch.arange(200)
    moved, size = views.render_boxes(BOXES[:1].expand(200, 1, 4), SIZE, view * 0, view)
    images = views.render(painted(BOXES[0]).expand(200, 1, *SIZE), view * 0, view)
    assert isinstance(images, Tensor)
    assert size == (10, 14) == tuple(images.shape[2:])
    shown = [
        (torch.tensor(around(image)) - its).abs().max().item()
        for image, its in zip(images, moved[:, 0], strict=True)
        if ((its[2:] - its[:2]) > 2).all()
    ]
    assert len(shown) > 50
    assert max(shown) <= 1
    assert len({tuple(each) for each in moved[:, 0].tolist()}) > 100


def test_colors_leave_boxes_alone_and_others_refuse() -> None:
    view = torch.tensor([1])
    for policy in ("none", "color_jitter(count=4)", "cutout(size=4, count=4)"):
        moved, size = parse(policy).render_boxes(BOXES[None], SIZE, view * 0, view)
        assert torch.equal(moved[0], BOXES)
        assert size == SIZE
    with pytest.raises(LimbeckError, match="turn and shear images, and a box does not stay a box"):
        parse("randaugment").render_boxes(BOXES[None], SIZE, view * 0, view)
    with pytest.raises(LimbeckError, match="random transforms of the data set itself"):
        parse("bank(count=2)").render_boxes(BOXES[None], SIZE, view * 0, view)


def test_a_schedule_moves_boxes_by_the_policy_of_the_view() -> None:
    views = parse('schedule(policies=["none", "crop(padding=1)"], starts=[0, 1])')
    moved, _ = views.render_boxes(
        BOXES[:1].expand(2, 1, 4), SIZE, torch.zeros(2).long(), torch.tensor([0, 1])
    )
    assert moved[:, 0].tolist() == [[3, 2, 9, 7], [4, 3, 10, 8]]


def test_a_loader_leaves_out_what_is_outside() -> None:
    targets = torch.zeros(1, 3, 5)
    targets[0, :, :4], targets[0, :, 4] = torch.tensor([[0.0, 0, 2, 2], [4, 4, 9, 9], [0, 0, 0, 0]]), -1
    targets[0, :2, 4] = torch.tensor([0.0, 1.0])
    split = Split.whole(Resident(torch.zeros(1, 3, *SIZE)), targets, Detection)
    loader = Loader(split, 1, views=parse("crop(padding=3)"), shuffle=False)
    seen = set()
    for _ in range(60):
        (batch,) = loader
        assert batch.targets is not None
        assert batch.view is not None
        right, down = int(batch.view) % 7, int(batch.view) // 7
        seen.add(right >= 5 or down >= 5)
        assert (batch.targets[0, 0, 4] == -1) == (right >= 5 or down >= 5)
        corner = (batch.targets[0, 1, :2]).tolist()
        assert corner == [4 + 3 - right, 4 + 3 - down]
        assert batch.targets[0, 2].tolist() == [0, 0, 0, 0, -1]
    assert seen == {True, False}
