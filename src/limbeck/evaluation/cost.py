"""What a network costs to run."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.evaluation.predict import inference
from limbeck.features import call
from limbeck.outputs import Inputs, size_of


@dataclass(frozen=True)
class Latency:
    """Wall-clock milliseconds of one call with `batch` samples: median and 95th percentile."""

    median_ms: float
    p95_ms: float
    batch: int

    @property
    def ms_per_image(self) -> float:
        """Median time of a sample when they come `batch` at once."""
        return self.median_ms / self.batch


def latency(network: nn.Module, example: Inputs, *, repeats: int = 50, warmup: int = 10) -> Latency:
    """Times single calls in eval mode, without gradients, on the device the network and the example are on.

    Each call is timed by itself and waits for the device: percentiles need single times, which
    `torch.utils.benchmark` averages away.

    Args:
        network: on the device of the example; its modes are restored.
        example: what one call gets, in the batch size to measure.
        repeats: timed calls, at least 1.
        warmup: calls before them, not timed.
    """
    if repeats < 1 or warmup < 0:
        raise LimbeckError(f"latency needs repeats >= 1 and warmup >= 0, not {repeats} and {warmup}")
    tensor = example if isinstance(example, torch.Tensor) else next(iter(example.values()))
    times: list[float] = []
    with inference(network):
        for _ in range(warmup + repeats):
            _wait(tensor.device)
            start = perf_counter()
            call(network, example)
            _wait(tensor.device)
            times.append(perf_counter() - start)
    measured = 1000 * torch.tensor(times[warmup:], dtype=torch.float64)
    return Latency(float(measured.quantile(0.5)), float(measured.quantile(0.95)), size_of(example))


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
