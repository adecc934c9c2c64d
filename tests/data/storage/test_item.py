from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from limbeck.data.storage.item import as_targets, read, stack
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED
from limbeck.tasks import Classification, Multilabel, Regression

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
    assert as_targets([read_target], [0], Classification, "training").tolist() == [target]
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
        (("a picture", 1), "input of item 7 should be a tensor, an array, a PIL image .* not str"),
        ({"image": PIXELS, "label": 1, "target": 1}, "more than one target: label, target"),
    ],
)
def test_refuses_items(item: Any, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        read(item, 7)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (0.5, "target of item 7 should be a class id, an integer, not 0.5; .*task=.regression. take"),
        (True, "not True"),
        (torch.tensor([0.0, 1.0]), "should be a class id"),
    ],
)
def test_refuses_targets_that_are_no_class_ids(target: Any, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        as_targets([target], [7], Classification, "training")


def test_targets_may_be_vectors() -> None:
    several = as_targets([[0, 1], torch.tensor([1.0, 0.0])], [0, 1], Multilabel, "training")
    assert (several.dtype, several.tolist()) == (torch.int64, [[0, 1], [1, 0]])
    values = as_targets([0.5, np.float64(2)], [0, 1], Regression, "training")
    assert (values.dtype, values.tolist()) == (torch.float32, [[0.5], [2.0]])
    assert as_targets([None, None], [0, 1], Regression, "training").shape == (2, 0)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([[0, 1], None], "item 5 of the data set has no target, and others have one"),
        ([[0, 1], [0, 1, 1]], r"target of item 5 has the shape \(3,\), that of item 3 \(2,\)"),
        ([[0, 1], "cat"], "target of item 5 should be a number or a vector, not 'cat'"),
    ],
)
def test_refuses_vectors_that_differ(targets: list[Any], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        as_targets(targets, [3, 5], Multilabel, "training")


def test_images_of_more_than_8_bits_are_refused_and_transparency_is_white() -> None:
    image = pytest.importorskip("PIL.Image")
    for array in (np.full((4, 4), 40_000, np.uint16), np.full((4, 4), 0.5, np.float32)):
        with pytest.raises(
            LimbeckError, match=r"the image of item 3 has pixels of mode .*they should have 8"
        ):
            read(image.fromarray(array), 3)
    clear = np.zeros((2, 1, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    pixels = read(image.fromarray(clear), 0)[0][""]
    assert pixels[:, :, 0].tolist() == [[10, 255], [20, 255], [30, 255]]


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
