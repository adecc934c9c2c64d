from __future__ import annotations

import torch

from limbeck.data import Loader, Split
from limbeck.data.storage.pictures import Pictures
from limbeck.tasks import Restoration

IMAGES = [
    torch.full((1, height, width), 10 * height + width, dtype=torch.uint8)
    for height, width in ((2, 3), (4, 1))
]


def test_images_are_handed_out_one_by_one_at_their_size() -> None:
    targets = torch.arange(2 * 8 * 6, dtype=torch.int16).view(2, 1, 8, 6)
    split = Split.whole(Pictures(IMAGES, 2), targets, Restoration)
    first, second = Loader(split, 5, shuffle=False)
    assert isinstance(first.inputs, torch.Tensor)
    assert isinstance(second.inputs, torch.Tensor)
    torch.testing.assert_close(first.inputs, torch.full((1, 1, 2, 3), 23 / 255))
    torch.testing.assert_close(second.inputs, torch.full((1, 1, 4, 1), 41 / 255))
    assert first.targets is not None
    assert second.targets is not None
    assert torch.equal(first.targets, targets[:1, :, :4, :6].long())
    assert torch.equal(second.targets, targets[1:, :, :8, :2].long())


def test_several_are_on_a_canvas() -> None:
    taken = Pictures(IMAGES, 1).take(torch.tensor([1, 0]), torch.zeros(2))
    assert taken.shape == (2, 1, 4, 3)
    assert taken[0, 0].tolist() == [[41, 0, 0]] * 4
    assert taken[1, 0].tolist() == [[23, 23, 23]] * 2 + [[0, 0, 0]] * 2


def test_a_selection_counts_anew_and_the_fingerprint_is_of_the_content() -> None:
    pictures = Pictures(IMAGES, 2)
    assert torch.equal(pictures.select(torch.tensor([1])).images[0], IMAGES[1])
    assert pictures.fingerprint == Pictures([each.clone() for each in IMAGES], 2).fingerprint
    assert pictures.fingerprint != Pictures(IMAGES[::-1], 2).fingerprint
