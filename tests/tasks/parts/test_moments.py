"""Errors of values, summed up while they come in."""

from __future__ import annotations

import pytest
import torch

from limbeck.tasks.parts.moments import Moments

NAN = float("nan")


def test_by_hand() -> None:
    answers = torch.tensor([[1.0, 5.0], [4.0, 5.0], [2.0, 9.0]])
    targets = torch.tensor([[2.0, 5.0], [2.0, 5.0], [NAN, 5.0]])
    found = Moments.of(answers, targets)
    assert found.count.tolist() == [2, 3]
    assert found.rmse.tolist() == pytest.approx([(5 / 2) ** 0.5, (16 / 3) ** 0.5])
    assert found.mae.tolist() == pytest.approx([1.5, 4 / 3])
    assert found.bias.tolist() == pytest.approx([0.5, 4 / 3])
    assert found.varies.tolist() == [False, False]


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_batches_come_to_what_the_whole_does_even_far_from_zero(offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(100, 3, generator=generator, dtype=torch.float64) + offset
    targets[torch.rand(100, 3, generator=generator) < 0.2] = NAN
    targets[:10, 1] = NAN  # a batch that knows nothing of a value
    answers = targets.nan_to_num(7) + torch.randn(100, 3, generator=generator, dtype=torch.float64)
    starts = range(0, 100, 10)
    first, *rest = (Moments.of(answers[i : i + 10], targets[i : i + 10]) for i in starts)
    found = sum(rest, first)
    for column in range(3):
        known = ~targets[:, column].isnan()
        wanted, error = targets[known, column], (answers - targets)[known, column]
        assert found.count[column] == known.sum()
        assert float(found.mean[column]) == pytest.approx(float(wanted.mean()), rel=1e-15)
        assert float(found.spread[column]) == pytest.approx(
            float((wanted - wanted.mean()).square().sum()), rel=1e-7
        )
        assert float(found.rmse[column]) == pytest.approx(float(error.square().mean().sqrt()))
        assert float(found.bias[column]) == pytest.approx(float(error.mean()), rel=1e-9)
    assert found.varies.all()
