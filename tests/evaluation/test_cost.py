from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from limbeck import models
from limbeck.errors import LimbeckError
from limbeck.evaluation import latencies, latency, multiply_adds, peak_bytes, weight_bytes


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


def test_networks_take_turns() -> None:
    turns: list[str] = []

    class Noted(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: Tensor) -> Tensor:
            turns.append(self.name)
            return x

    latencies([Noted("a"), Noted("b")], [torch.zeros(1)] * 2, repeats=2, warmup=1)
    assert "".join(turns) == "ababab"


def test_each_network_has_its_own_times() -> None:
    slow, quick = latencies(
        [Sleeper(*[30] * 3), Sleeper(*[5] * 3)], [torch.zeros(1)] * 2, repeats=3, warmup=0
    )
    assert slow.median_ms >= 30
    assert 5 <= quick.median_ms < 30


def test_multiply_adds_by_hand() -> None:
    convolution = nn.Conv2d(3, 8, 3, stride=2, padding=1)  # 8 x 5 x 5 values of 3 x 3 x 3 products
    network = nn.Sequential(convolution, nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(200, 4))
    network.train()
    expected = 8 * 5 * 5 * 27 + 200 * 4
    for batch in (1, 3):
        assert multiply_adds(network, torch.zeros(batch, 3, 10, 10)) == expected
    assert network.training
    assert int(network[1].num_batches_tracked) == 0  # type: ignore[arg-type]


def test_multiply_adds_of_attention() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, dim_feedforward=32, batch_first=True)
    tokens = 5
    linear = tokens * (16 * 48 + 16 * 16 + 2 * 16 * 32)
    assert multiply_adds(nn.TransformerEncoder(layer, 2), torch.zeros(1, tokens, 16)) == 2 * (
        linear + 2 * tokens * tokens * 16
    )


def test_weights_count_as_the_file_has_them() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4).half())
    assert weight_bytes(network) == 4 * 20 + (4 * 16 + 8) + 2 * 20
    network.append(network[0])
    assert weight_bytes(network) == 2 * 4 * 20 + (4 * 16 + 8) + 2 * 20


def test_the_size_is_that_of_the_file(tmp_path: Path) -> None:
    network = models.build("resnet8", example=torch.zeros(1, 3, 32, 32), num_classes=10)
    models.save(network, tmp_path / "network.safetensors", {})
    header = (tmp_path / "network.safetensors").stat().st_size - weight_bytes(network)
    assert 0 < header < 10_000


def test_the_peak_is_of_what_lives_at_once() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(100))

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.weight  # 8,000 bytes
            for _ in range(3):
                x = torch.cat([x, x])[: len(x)]  # 16,000 beside the 8,000; a view of it lives on
            x.relu_()
            return x.view(-1)

    # 400 of weights and 8,000 of inputs; in the second turn, 16,000 of the first and 16,000 of its own
    assert peak_bytes(Chain(), torch.zeros(20, 100)) == 400 + 8_000 + 16_000 + 16_000


def test_the_peak_grows_with_the_batch() -> None:
    network = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 2))
    small, large = (peak_bytes(network, torch.zeros(batch, 10)) for batch in (1, 11))
    assert large - small == 4 * 10 * (10 + 100 + 100)
