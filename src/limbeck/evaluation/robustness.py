"""How a network's figures fall when the inputs get noisy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.evaluation.contenders import Contender
from limbeck.evaluation.corruptions import Corruption
from limbeck.evaluation.measure import Answer, answer_of, inference
from limbeck.outputs import Batch
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
    contenders: Sequence[Contender],
    batches: Iterable[Batch],
    corruptions: Mapping[str, Corruption],
) -> list[Robustness]:
    """The task's primary metric without noise and with noise; all networks see the same noisy inputs.

    Args:
        task: what the networks are for.
        contenders: the networks, on the device of the batches.
        batches: with `targets` and `index`; inputs as they are rendered, before any preparation or
            normalization.
        corruptions: by name; see `limbeck.evaluation.corruptions`.
    Returns: the figures of each network.
    Raises:
        LimbeckError: where no sample has a target.
    """
    plain = [task.meter(quick=True) for _ in contenders]
    meters = {
        kind: [[task.meter(quick=True) for _ in contenders] for _ in range(LEVELS)] for kind in corruptions
    }
    answers = [(each, answer_of(task, each.network, each.features)) for each in contenders]
    with ExitStack() as stack:
        for each in contenders:
            stack.enter_context(inference(each.network))
        for batch in batches:
            if not isinstance(batch.inputs, Tensor) or batch.targets is None or batch.index is None:
                raise LimbeckError("robustness needs batches of one tensor, with the targets and the index")
            _take(answers, plain, batch.inputs, batch)
            for kind, corruption in corruptions.items():
                for level, those in enumerate(meters[kind], start=1):
                    _take(answers, those, corruption(batch.inputs, level, batch.index), batch)
    return [
        Robustness(
            _primary(task, plain[n]),
            {kind: tuple(_primary(task, level[n]) for level in levels) for kind, levels in meters.items()},
        )
        for n in range(len(contenders))
    ]


def _take(
    answers: Sequence[tuple[Contender, Answer]], meters: Sequence[Meter], inputs: Tensor, batch: Batch
) -> None:
    for (each, answer), meter in zip(answers, meters, strict=True):
        meter.update(answer(each.preparation(inputs)), batch)


def _primary(task: Task, meter: Meter) -> float:
    return meter.compute()[task.primary.name]
