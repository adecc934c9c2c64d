from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.evaluation import latency


class Sleeper(nn.Module):
    """Takes as many milliseconds in its n-th call as the n-th number says."""

    def __init__(self, *milliseconds: float) -> None:
        super().__init__()
        self.milliseconds = list(milliseconds)
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.training or torch.is_grad_enabled())
        time.sleep(self.milliseconds.pop(0) / 1000)
        return x


def test_median_and_percentile_of_the_timed_calls() -> None:
    network = Sleeper(300, 10, 10, 10, 10, 110)
    found = latency(network, torch.zeros(4, 2), repeats=5, warmup=1)
    assert 10 <= found.median_ms < 60
    assert 90 <= found.p95_ms < 290  # 10 + 0.8 * (110 - 10) by interpolation; the warm-up's 300 are not in it
    assert found.batch == 4
    assert found.ms_per_image == found.median_ms / 4


def test_runs_in_eval_mode_without_gradients_and_restores() -> None:
    network = Sleeper(0, 0)
    latency(network, torch.zeros(1, 2), repeats=1, warmup=1)
    assert network.modes == [False, False]
    assert network.training


def test_named_inputs() -> None:
    class Named(nn.Module):
        def forward(self, ids: Tensor) -> Tensor:
            return ids

    assert latency(Named(), {"ids": torch.zeros(3, 7)}, repeats=1, warmup=0).batch == 3


@pytest.mark.parametrize(("repeats", "warmup"), [(0, 0), (1, -1)])
def test_refuses_counts_that_make_no_sense(repeats: int, warmup: int) -> None:
    with pytest.raises(LimbeckError, match="repeats >= 1 and warmup >= 0"):
        latency(nn.Identity(), torch.zeros(1), repeats=repeats, warmup=warmup)
