from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limbeck.data.kinds import describe, kind_of, statistics, statistics_of_levels
from limbeck.errors import LimbeckError


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), "image"),
        (torch.zeros(1, 3, 4, 5), "image"),
        (torch.zeros(1, 7), "table"),
        (torch.zeros(1, 7, dtype=torch.int64), "text"),
        (torch.zeros(1, 7, 3), "other"),
    ],
)
def test_kinds(inputs: Tensor, kind: str) -> None:
    assert kind_of(inputs) == kind


def test_named_tensors_are_text() -> None:
    assert kind_of({"input_ids": torch.zeros(1, 7)}) == "text"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(1, 8, 8, dtype=torch.uint8), r"not \(1, 8, 8\) uint8; for gray: images\[:, None\]"),
        (torch.zeros(1, 8, dtype=torch.int32), r"a float table .* not \(1, 8\) int32"),
        (torch.zeros(1, 8, dtype=torch.uint8), r"not \(1, 8\) uint8"),
        (torch.zeros(1, dtype=torch.int64), r"not \(1,\) int64"),
    ],
)
def test_refuses_kinds(inputs: Tensor, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        kind_of(inputs)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_statistics_equal_those_of_float64(dtype: torch.dtype) -> None:
    values = torch.randint(0, 256, (50, 3, 4, 6), generator=torch.Generator().manual_seed(0)).to(dtype)
    values[:, 2] = 7
    mean, std = statistics(values)
    scaled = (values.double() / (255 if dtype == torch.uint8 else 1)).transpose(0, 1).flatten(1)
    assert mean == pytest.approx(scaled.mean(1).tolist(), rel=1e-12)
    assert std[:2] == pytest.approx(scaled[:2].std(1, correction=0).tolist(), rel=1e-12)
    assert std[2] == 1.0


def test_a_constant_column_has_a_deviation_of_exactly_one() -> None:
    assert statistics(torch.full((1000, 1), 0.1))[1] == (1.0,)


def test_describe_leaves_the_batch_out() -> None:
    assert describe(torch.zeros(9, 3, 2)) == "(3, 2) float32"
    assert describe({"a": torch.zeros(9), "b": torch.zeros(9, 2).long()}) == "a () float32, b (2,) int64"


def test_statistics_of_levels_are_those_of_the_images() -> None:
    images = torch.randint(0, 200, (7, 3, 5, 4), dtype=torch.uint8)
    images[:, 2] = 9
    levels = torch.stack([images[:, c].flatten().bincount(minlength=256) for c in range(3)])
    assert statistics_of_levels(levels) == statistics(images)


@pytest.mark.parametrize("shape", [(1, 32, 32, 3), (1, 28, 28, 1), (1, 8, 6, 4)])
def test_channels_last_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        LimbeckError, match=r"looks as if channels were last; .*permute\(0, 3, 1, 2\) moves them"
    ):
        kind_of(torch.zeros(shape, dtype=torch.uint8))
    assert kind_of(torch.zeros(shape).permute(0, 3, 1, 2)) == "image"
    assert kind_of(torch.zeros(1, 3, 32, 4)) == "image"
