from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from limbeck.data.storage.item import read, stack
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED

PIXELS = torch.arange(3 * 4 * 5, dtype=torch.uint8).view(3, 4, 5)


@pytest.mark.parametrize(
    ("item", "target"),
    [
        ((PIXELS, 3), 3),
        ([PIXELS, torch.tensor(3)], 3),
        ((PIXELS.numpy(), np.int64(3)), 3),
        ((PIXELS, None), UNLABELED),
        ((PIXELS,), UNLABELED),
        (PIXELS, UNLABELED),
        ({"image": PIXELS, "label": 3}, 3),
        ({"target": np.array(3), "img": PIXELS.tolist()}, 3),
    ],
)
def test_plain_items(item: Any, target: int) -> None:
    inputs, read_target = read(item, 0)
    assert read_target == target
    assert list(inputs) == [""]
    assert inputs[""].tolist() == PIXELS.tolist()


def test_named_inputs_keep_their_names() -> None:
    inputs, target = read({"input_ids": [1, 2], "attention_mask": torch.ones(2), "labels": 1}, 0)
    assert {name: tensor.tolist() for name, tensor in inputs.items()} == {
        "input_ids": [1, 2],
        "attention_mask": [1, 1],
    }
    assert target == 1
    assert list(read({"pixel_values": PIXELS}, 0)[0]) == ["pixel_values"]
    assert list(read(({"pixel_values": PIXELS}, 2), 0)[0]) == ["pixel_values"]


def test_pil_images_become_bytes_with_channels_first() -> None:
    image = pytest.importorskip("PIL.Image")
    rows = PIXELS.permute(1, 2, 0).contiguous().numpy()
    assert torch.equal(read(image.fromarray(rows), 0)[0][""], PIXELS)
    assert torch.equal(read(image.fromarray(rows[:, :, 0].copy()), 0)[0][""], PIXELS[:1])
    assert read(image.fromarray(rows).convert("RGBA"), 0)[0][""].shape == (3, 4, 5)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((PIXELS, 1, 2), r"item 7 .* has 3 parts; it should be \(input, target\)"),
        ((PIXELS, 0.5), "target of item 7 should be a class id, an integer, not 0.5"),
        ((PIXELS, True), "not True"),
        ((PIXELS, torch.tensor([0.0, 1.0])), "should be a class id"),
        (("a picture", 1), "input of item 7 should be a tensor, an array, a PIL image .* not str"),
        ({"image": PIXELS, "label": 1, "target": 1}, "more than one target: label, target"),
    ],
)
def test_refuses_items(item: Any, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        read(item, 7)


def test_stack() -> None:
    batch = stack([{"": PIXELS}, {"": PIXELS + 1}], [0, 1])
    assert isinstance(batch, Tensor)
    assert torch.equal(batch, torch.stack([PIXELS, PIXELS + 1]))
    named = stack([{"x": PIXELS}], [0])
    assert not isinstance(named, Tensor)
    assert named["x"].shape == (1, 3, 4, 5)


@pytest.mark.parametrize(
    "other", [{"": PIXELS[:, :3]}, {"": PIXELS.float()}, {"x": PIXELS}, {"": PIXELS, "more": PIXELS}]
)
def test_stack_refuses_items_that_differ(other: dict[str, Tensor]) -> None:
    with pytest.raises(LimbeckError, match=r"item 9 .* but item 4 is \(3, 4, 5\) uint8; .* resize or pad"):
        stack([{"": PIXELS}, other], [4, 9])
