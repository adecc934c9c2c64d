from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from limbeck import data
from limbeck.runs.network_record import Card, describe

LABELS = torch.arange(20) % 2


@pytest.mark.parametrize(
    ("inputs", "dtypes", "preparation"),
    [
        (torch.rand(20, 3), "float32", "values as in the data"),
        (torch.rand(20, 3, 4, 4), "float32", "values as in the data"),
        (
            torch.zeros(20, 3, 4, 4, dtype=torch.uint8),
            "float32",
            "pixels in [0, 1] (8-bit values divided by 255)",
        ),
        (torch.zeros(20, 5, dtype=torch.int64), "int64", "values as in the data"),
        (
            {"ids": torch.ones(20, 5, dtype=torch.int64), "weight": torch.rand(20, 5)},
            {"ids": "int64", "weight": "float32"},
            "values as in the data",
        ),
    ],
)
def test_it_says_what_the_inputs_are(inputs: Any, dtypes: Any, preparation: str) -> None:
    source = data.from_tensors(inputs, LABELS)
    card = Card.model_validate_json(describe(nn.Identity(), None, source).model_dump_json())
    assert (card.input_dtype, card.preparation) == (dtypes, preparation)
    example, real = card.example, source.example(1)
    if isinstance(real, torch.Tensor):
        example, real = {"": example}, {"": real}  # type: ignore[dict-item]
    assert isinstance(example, dict)
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in example.items()} == {
        name: (tensor.dtype, tensor.shape) for name, tensor in real.items()
    }


def test_one_of_before_dtypes_were_written_down() -> None:
    old: dict[str, Any] = {"model": None, "class_names": ("a",), "mean": None, "std": None}
    assert Card(**old, input_shape=(3,)).example.dtype == torch.float32  # type: ignore[union-attr]
    assert Card(**old, input_shape={"ids": (3,)}).example["ids"].dtype == torch.int64  # type: ignore[index]
