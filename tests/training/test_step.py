from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from small_training import Fit, Regression, batches, same, weights
from torch import Tensor

from limbeck.methods.parts.memories import Bank, Queue
from limbeck.optimization import SGD
from limbeck.outputs import Batch
from limbeck.training.choices import Choices
from limbeck.training.guard import Guard
from limbeck.training.means import Means
from limbeck.training.step import Step
from two_processes import as_launched, run_in_two_processes


def unanswered(batch: Batch) -> Mapping[str, Tensor]:
    return {}


def stepped(scaler: torch.amp.GradScaler | None, data: list[Batch], fit: Fit, **settings: Any) -> Means:
    """Does a step for each batch; a scaler may be of the CPU here, which the trainer itself refuses."""
    means, guard = Means(), Guard(torch.device("cpu"))
    step = Step(
        Accelerator(cpu=True),
        fit,
        SGD(lr=0.05)(fit.parameters()),
        **{
            "accumulation": 1,
            "clip": None,
            "collected": lambda batch: batch,
            "rows": lambda batch: None,
            "answered": unanswered,
            "settle": lambda batch, pieces: Choices("fp32"),
            "scaler": scaler,
            **settings,
        },
    )
    for number, batch in enumerate(data, 1):
        step(number, batch, guard, means)
        guard.check("training", "There is none.")
    return means


@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_scale_of_the_gradients_changes_nothing(accumulation: int, clip: float | None) -> None:
    found = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**12)):
        fit = Fit(Regression())
        means = stepped(scaler, batches(4, 4, 4), fit, accumulation=accumulation, clip=clip)
        found.append((weights(fit.model), means.read(Accelerator(cpu=True))))
    assert same(found[0][0], found[1][0]), "a scale is a power of two"
    assert found[0][1] == found[1][1], "the losses are shown without it"


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_scale_changes_nothing_where_rows_are_counted(accumulation: int) -> None:
    counts = {
        3: 8.0,
        2: 1.0,
        1: 7.0,
    }  # by samples: the pieces' shares of the rows are not those of the samples
    found = []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**16)):
        fit = Fit(Regression())
        before = weights(fit.model)
        means = stepped(
            scaler,
            batches(3),
            fit,
            accumulation=accumulation,
            rows=lambda batch: torch.tensor(counts[len(batch)]),
        )
        found.append((weights(fit.model), means.read(Accelerator(cpu=True))))
        assert (fit.model.last.bias - before["last.bias"]).abs().item() > 1e-3, "it learns at the full rate"
    assert same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_an_overflow_skips_the_step_and_lowers_the_scale() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    fit = Fit(Regression())
    before = weights(fit.model)
    stepped(scaler, [Batch(100 * batch.inputs) for batch in batches(4)], fit)  # type: ignore[operator, arg-type]
    assert same(weights(fit.model), before)
    assert scaler.get_scale() == 2.0**126
    stepped(scaler, batches(4), fit)
    assert not same(weights(fit.model), before)


def test_after_a_first_overflow_the_optimizer_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "empty_like", lambda like, **_: torch.full_like(like, 1e22))
    first, *rest = batches(4, 4, 4)
    assert isinstance(first.inputs, Tensor)
    plain, scaled = Fit(Regression()), Fit(Regression())
    stepped(None, rest, plain)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    stepped(scaler, [Batch(100 * first.inputs), *rest], scaled)
    assert scaler.get_scale() == 2.0**126, "one of the three has overflowed"
    assert same(scaled.before[0], scaled.before[1])
    assert not same(scaled.before[1], scaled.before[2])
    assert same(weights(scaled.model), weights(plain.model))


def buffers_after_a_step(rank: int, world: int) -> dict[str, float]:
    """What a step leaves of buffers that began it with another number in each process."""
    as_launched(rank, world)
    fit = Fit(Regression())
    fit.bank, fit.queue = Bank(4, 2, 0.5), Queue(4, 2)
    fit.register_buffer("other", torch.zeros(2))

    def looked_at(batch: Batch, pieces: int) -> Choices:
        for buffer in fit.buffers():
            buffer.fill_(rank + 1)
        return Choices("fp32")

    stepped(None, batches(4), fit, settle=looked_at)
    return {name: buffer.float().mean().item() for name, buffer in fit.named_buffers()}


def test_memories_are_not_sent_to_the_other_processes() -> None:
    (found,) = run_in_two_processes([(buffers_after_a_step, ())], paths=[Path(__file__).parent])
    assert found[0] == {"other": 1, "bank.rows": 1, "queue.rows": 1, "queue.count": 1}
    assert found[1] == {"other": 1, "bank.rows": 2, "queue.rows": 2, "queue.count": 2}
