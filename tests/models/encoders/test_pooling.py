"""Poolings, against what their definitions give by hand."""

from __future__ import annotations

import math

import pytest
import torch

from limbeck.errors import LimbeckError
from limbeck.models.encoders.pooling import checked, pool

TOKENS = torch.tensor([[[1.0, 8.0], [3.0, 2.0], [99.0, 99.0]], [[50.0, 50.0], [4.0, 6.0], [2.0, 1.0]]])
MASK = torch.tensor([[1, 1, 0], [0, 1, 1]])  # the first text is padded on its right, the second on its left


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", [[2.0, 5.0], [3.0, 3.5]]),
        (
            "mean_sqrt_len_tokens",
            [[4 / math.sqrt(2), 10 / math.sqrt(2)], [6 / math.sqrt(2), 7 / math.sqrt(2)]],
        ),
        ("weightedmean", [[7 / 3, 4.0], [8 / 3, 8 / 3]]),
        ("max", [[3.0, 8.0], [4.0, 6.0]]),
        ("cls", [[1.0, 8.0], [4.0, 6.0]]),
        ("lasttoken", [[3.0, 2.0], [2.0, 1.0]]),
    ],
)
def test_each_pooling_counts_the_tokens_of_the_mask_alone(name: str, expected: list[list[float]]) -> None:
    torch.testing.assert_close(pool(TOKENS, MASK, checked([name], "it")), torch.tensor(expected))


def test_several_poolings_stand_one_after_the_other() -> None:
    both = pool(TOKENS, MASK, ("cls", "mean"))
    assert both.tolist() == [[1.0, 8.0, 2.0, 5.0], [4.0, 6.0, 3.0, 3.5]]


@pytest.mark.parametrize("name", ["mean", "max", "cls", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"])
def test_a_text_without_a_token_becomes_zero(name: str) -> None:
    found = pool(TOKENS, torch.tensor([[1, 0, 0], [0, 0, 0]]), checked([name], "it"))
    assert found[0].tolist() == [1.0, 8.0]
    assert found[1].tolist() == [0.0, 0.0]


def test_half_precision_is_summed_in_float32() -> None:
    tokens = torch.full((1, 4096, 1), 1.0).bfloat16()  # a sum in bfloat16 would stop at 256
    assert pool(tokens, torch.ones(1, 4096), ("mean",)).item() == 1.0


def test_an_unknown_pooling_is_refused_by_name() -> None:
    with pytest.raises(LimbeckError, match="unknown pooling of the folder 'meen'; did you mean 'mean'"):
        checked(["meen"], "the folder")
    with pytest.raises(LimbeckError, match="the folder names no pooling; give at least one of mean, cls"):
        checked([], "the folder")
