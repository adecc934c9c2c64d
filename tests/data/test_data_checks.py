from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
import torch
from torch import Tensor

from limbeck.data.checks import as_inputs, as_targets, check_precision, offsets
from limbeck.errors import LimbeckError
from limbeck.tasks import Classification

TABLE = torch.tensor([[0.5, 1.0], [2.0, 3.0]])


@pytest.mark.parametrize(
    "inputs",
    [
        TABLE.double(),
        TABLE.half(),
        TABLE.numpy().astype(np.float64),
        pd.DataFrame(TABLE.numpy(), index=[7, 9]),
        TABLE.clone().requires_grad_(),
    ],
)
def test_floats_of_any_kind_become_plain_float32(inputs: Any) -> None:
    found = as_inputs(inputs, "training")
    assert isinstance(found, Tensor)
    assert (found.dtype, found.requires_grad) == (torch.float32, False)
    assert torch.equal(found, TABLE)


def test_integers_stay_as_they_are() -> None:
    found = as_inputs({"ids": np.array([[1, 2]]), "mask": torch.ones(1, 2, dtype=torch.uint8)}, "training")
    assert not isinstance(found, Tensor)
    assert [tensor.dtype for tensor in found.values()] == [torch.int64, torch.uint8]


def test_a_series_is_a_target() -> None:
    found = as_targets(pd.Series([1, 0], index=[5, 3]), TABLE, "training", Classification)
    assert found.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (TABLE.to_sparse(), r"training inputs are sparse, .* give inputs.to_dense\(\)"),
        (pd.DataFrame({"a": ["x", "y"]}), "training inputs should be tensors or arrays of numbers"),
        (
            1.7e9 + torch.arange(100.0).double()[:, None] / 10,
            "lose their differences in column 0 .* subtract",
        ),
        ({"x": TABLE.to_sparse()}, "training inputs x are sparse"),
    ],
)
def test_refuses(inputs: Any, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        as_inputs(inputs, "training")


def test_what_float32_would_lose() -> None:
    times = 1.7e9 + torch.arange(100, dtype=torch.float64)
    table = torch.stack([times, torch.linspace(0, 1, 100).double(), torch.full((100,), 0.1).double()], 1)
    shift = offsets(table)
    assert shift.tolist() == [round(1.7e9 + 49.5), 0, 0]
    assert ((table - shift).float().double() - (table - shift)).abs().max() < 1e-7
    with pytest.raises(LimbeckError, match="the rows lose their differences in column 'time'"):
        check_precision(table, "rows", ["time", "x", "y"])
    check_precision(table[:, 1:], "rows")
