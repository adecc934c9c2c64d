"""What a network costs to run."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from limbeck.errors import LimbeckError
from limbeck.evaluation.measure import inference
from limbeck.features import call, unfused
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
    """The latency of one network; see `latencies`."""
    return latencies([network], [example], repeats=repeats, warmup=warmup)[0]


def latencies(
    networks: Sequence[nn.Module], examples: Sequence[Inputs], *, repeats: int = 50, warmup: int = 10
) -> list[Latency]:
    """Times single calls in eval mode, without gradients, on the device the networks and the examples are on.

    The networks take turns, so that what else the machine does meets all of them alike. Each call is timed by
    itself and waits for the device: percentiles need single times, which `torch.utils.benchmark` averages
    away.

    Args:
        networks: on the device of the examples; their modes are restored.
        examples: what one call of each gets, in the batch size to measure.
        repeats: timed calls of each, at least 1.
        warmup: calls before them, not timed.
    """
    first = examples[0]
    tensor = first if isinstance(first, Tensor) else next(iter(first.values()))

    def called(network: nn.Module, example: Inputs) -> None:
        call(network, example)
        _wait(tensor.device)

    with ExitStack() as stack:
        for network in networks:
            stack.enter_context(inference(network))
        _wait(tensor.device)
        calls = [partial(called, *each) for each in zip(networks, examples, strict=True)]
        return timed(calls, size_of(first), repeats=repeats, warmup=warmup)


def timed(
    calls: Sequence[Callable[[], object]], batch: int, *, repeats: int = 50, warmup: int = 10
) -> list[Latency]:
    """Times calls that take turns.

    Args:
        calls: functions that return when the work is done.
        batch: how many samples a call is of.
        repeats: timed calls of each, at least 1.
        warmup: calls before them, not timed.
    """
    if repeats < 1 or warmup < 0:
        raise LimbeckError(f"latency needs repeats >= 1 and warmup >= 0, not {repeats} and {warmup}")
    times = torch.empty(warmup + repeats, len(calls), dtype=torch.float64)
    for turn in times:
        for place, work in enumerate(calls):
            start = perf_counter()
            work()
            turn[place] = 1000 * (perf_counter() - start)
    return [
        Latency(float(measured.quantile(0.5)), float(measured.quantile(0.95)), batch)
        for measured in times[warmup:].T
    ]


def multiply_adds(network: nn.Module, example: Inputs) -> int:
    """Multiply-adds of a sample in convolutions, matrix products and attention; half of torch's FLOP count.

    Args:
        network: on the device of the example; its modes are restored.
        example: one or more samples.
    """
    # Fused layers and fused attention would not be counted.
    counter = FlopCounterMode(display=False)
    with inference(network), unfused(), sdpa_kernel(SDPBackend.MATH), counter:
        call(network, example)
    return round(counter.get_total_flops() / 2 / size_of(example))


def weight_bytes(network: nn.Module) -> int:
    """What the weights take in a file: every tensor of `state_dict()`, under each of its names."""
    return sum(tensor.nbytes for tensor in network.state_dict().values())


def peak_bytes(network: nn.Module, example: Inputs) -> int:
    """The most memory that tensors take at once in a call: weights, inputs and what is computed.

    Counted from the tensors' sizes, so it is the same on any machine; the working memory inside an operation
    is not in it.

    Args:
        network: on the device of the example; its modes are restored.
        example: what the call gets.
    """
    inputs = [example] if isinstance(example, Tensor) else example.values()
    given: int = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers(), *inputs))
    live = _Live()
    with inference(network), unfused(), live:
        call(network, example)
    return given + live.peak


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that operations make, for as long as something holds them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self._known.update(_storages((args, kwargs)))  # those that operations did not make: weights, inputs
        result = operation(*args, **(kwargs or {}))
        for storage in _storages(result):
            if storage not in self._known:
                self._known.add(storage)
                self.bytes += storage.nbytes()
                weakref.finalize(storage, self._released, storage.nbytes())
        self.peak = max(self.peak, self.bytes)
        return result

    def _released(self, size: int) -> None:
        self.bytes -= size


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
