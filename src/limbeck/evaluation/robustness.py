"""How a network's figures fall when the inputs get noisy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.evaluation.corruptions import Corruption
from limbeck.evaluation.measure import inference
from limbeck.features import call, logits_of
from limbeck.outputs import Batch, Outputs
from limbeck.tasks import Meter, Task

LEVELS = 5
"""Severities of each kind of noise."""


@dataclass(frozen=True)
class Robustness:
    """A task's primary metric of one network, on the same samples.

    Attributes:
        noiseless: without noise.
        noisy: at severity 1 to 5, by kind of noise.
    """

    noiseless: float
    noisy: dict[str, tuple[float, ...]]


def robustness(
    task: Task,
    networks: Sequence[nn.Module],
    batches: Iterable[Batch],
    corruptions: Mapping[str, Corruption],
) -> list[Robustness]:
    """The task's primary metric without noise and with noise; all networks see the same noisy inputs.

    Args:
        task: what the networks are for.
        networks: on the device of the batches.
        batches: with `targets` and `index`; inputs as networks take them, before any normalization.
        corruptions: by name; see `limbeck.evaluation.corruptions`.
    Returns: the figures of each network.
    Raises:
        LimbeckError: where no sample has a target.
    """
    plain = [task.meter(quick=True) for _ in networks]
    meters = {
        kind: [[task.meter(quick=True) for _ in networks] for _ in range(LEVELS)] for kind in corruptions
    }
    with ExitStack() as stack:
        for network in networks:
            stack.enter_context(inference(network))
        for batch in batches:
            if not isinstance(batch.inputs, Tensor) or batch.targets is None or batch.index is None:
                raise LimbeckError("robustness needs batches of one tensor, with the targets and the index")
            _take(networks, plain, batch.inputs, batch)
            for kind, corruption in corruptions.items():
                for level, those in enumerate(meters[kind], start=1):
                    _take(networks, those, corruption(batch.inputs, level, batch.index), batch)
    return [
        Robustness(
            _primary(task, plain[n]),
            {kind: tuple(_primary(task, level[n]) for level in levels) for kind, levels in meters.items()},
        )
        for n in range(len(networks))
    ]


def _take(networks: Sequence[nn.Module], meters: Sequence[Meter], inputs: Tensor, batch: Batch) -> None:
    for network, meter in zip(networks, meters, strict=True):
        meter.update(Outputs(logits=logits_of(call(network, inputs))), batch)


def _primary(task: Task, meter: Meter) -> float:
    return meter.compute()[task.primary.name]
