"""Rows of a task whose samples differ in them: no split of a batch changes a loss or a gradient."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck import Batch, Distiller, LimbeckError, Outputs, Trainer
from limbeck.optimization import SGD
from limbeck.tasks.rows import masked
from maps import IGNORED, Maps, Pixels, images
from scripted_loop import ScriptedLoop
from two_processes import run_in_two_processes

TASK = Maps(("a", "b", "c"))
OBJECTIVE = "0.3*ce + 0.7*kd(temperature=2)"


def distiller(objective: str = OBJECTIVE, **settings: Any) -> Distiller:
    example = images(2)[0].double()
    student, teacher = Pixels(4).double(), Pixels(6, seed=1).double()
    torch.manual_seed(7)  # of the parts that methods make
    return Distiller(student, teacher, objective, example=example, task=TASK, **settings)


def batch_of(samples: int = 6, size: int = 4) -> Batch:
    inputs, targets = images(samples, size)
    return Batch(inputs.double(), targets, index=torch.arange(samples))


def gradients(losses: Any, module: nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(losses, list(module.parameters()), allow_unused=True)
    return [torch.zeros(()) if each is None else each for each in found]


def test_a_row_is_a_pixel_that_counts() -> None:
    _, targets = images(2)
    valid = targets != IGNORED
    rows = masked(valid, targets)
    logits = torch.randn(2, 3, 4, 4)
    assert rows.count == int(valid.sum()) == len(rows.logits(logits))
    assert torch.equal(rows.logits(logits), logits.permute(0, 2, 3, 1)[valid])
    assert rows.targets is not None
    assert torch.equal(rows.targets, targets[valid])
    assert rows.sample is not None
    assert torch.equal(rows.sample, torch.arange(2)[:, None, None].expand(2, 4, 4)[valid])


def test_a_row_is_a_token_that_is_not_masked() -> None:
    valid = torch.tensor([[True, True, False], [True, False, False]])
    rows = masked(valid, None)
    hidden = torch.randn(2, 3, 5)
    assert torch.equal(rows.logits(hidden), hidden[valid])
    assert rows.targets is None


def test_the_losses_are_means_over_the_valid_pixels() -> None:
    made, batch = distiller(), batch_of()
    losses = made(batch)
    assert made.teacher is not None
    assert isinstance(batch.inputs, Tensor)
    assert batch.targets is not None
    ours, theirs = made.student(batch.inputs), made.teacher(batch).logits
    expected = F.cross_entropy(ours, batch.targets, ignore_index=IGNORED)
    assert losses["ce"].item() == pytest.approx(expected.item(), rel=1e-12)
    kl = F.kl_div((ours / 2).log_softmax(1), (theirs / 2).softmax(1), reduction="none").sum(1)
    assert losses["kd"].item() == pytest.approx(4 * kl[batch.targets != IGNORED].mean().item(), rel=1e-10)


def test_padding_and_the_order_of_samples_change_nothing() -> None:
    made, batch = distiller(), batch_of()
    whole = made(batch)
    expected = gradients(whole.total, made.student)
    assert isinstance(batch.inputs, Tensor)
    assert batch.targets is not None
    order = torch.randperm(6, generator=torch.Generator().manual_seed(3))
    shuffled = made(Batch(batch.inputs[order], batch.targets[order]))
    padded = Batch(
        torch.cat([batch.inputs, torch.zeros_like(batch.inputs)]),
        torch.cat([batch.targets, torch.full_like(batch.targets, IGNORED)]),
    )
    for other in (shuffled, made(padded)):
        assert other.total.item() == pytest.approx(whole.total.item(), rel=1e-12)
        for one, two in zip(expected, gradients(other.total, made.student), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


def test_a_batch_without_a_valid_pixel_counts_for_nothing() -> None:
    made, batch = distiller("ce + kd + icd"), batch_of()
    assert batch.targets is not None
    losses = made(Batch(batch.inputs, torch.full_like(batch.targets, IGNORED)))
    assert losses.total.item() == 0
    assert all(not grad.any() for grad in gradients(losses.total, made.student))


def trained(accumulation: int, rank: int = 0, world: int = 1, port: int = 0) -> dict[str, Any]:
    """The student after two steps, and the terms of the epoch."""
    if world > 1:
        local = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world}
        os.environ |= {name: str(value) for name, value in local.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    made = distiller("0.3*ce + 0.7*kd(temperature=2) + at")
    trainer = Trainer(device="cpu", display=False, accumulation=accumulation)
    whole = batch_of()
    share = torch.arange(6).tensor_split(world)[rank]
    batch = whole.map(lambda tensor: tensor[share])
    batch = Batch(batch.inputs, batch.targets, index=batch.index, total=6)
    lines: list[dict[str, Any]] = []
    trainer.history.add = lambda line: lines.append(dict(line))  # type: ignore[method-assign]

    @contextmanager
    def opened() -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        yield made, made.optimizer(SGD(lr=0.5))

    trainer.fit(made, [ScriptedLoop("training", opened, lambda epoch: [batch] * 2, 1, rows=TASK.count)])
    weights = {name: value.detach() for name, value in made.student.state_dict().items()}
    return {"weights": weights, "terms": lines[-1]["terms"]}


@pytest.mark.parametrize("accumulation", [2, 3])
def test_accumulation_changes_nothing(accumulation: int) -> None:
    one, other = trained(1), trained(accumulation)
    assert other["terms"] == pytest.approx(one["terms"], rel=1e-9)
    for name, value in one["weights"].items():
        torch.testing.assert_close(other["weights"][name], value, rtol=1e-9, atol=1e-12)


def share_of(rank: int, world: int, port: int) -> dict[str, Any]:
    return trained(1, rank, world, port)


def test_two_processes_change_nothing() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = Path(__file__).parent
    (ranks,) = run_in_two_processes([(share_of, (port,))], paths=[here, here.parent])
    alone = trained(1)
    for rank in ranks:
        assert rank["terms"] == pytest.approx(alone["terms"], rel=1e-9)
        for name, value in alone["weights"].items():
            torch.testing.assert_close(rank["weights"][name], value, rtol=1e-9, atol=1e-12)


def test_methods_that_relate_rows_see_a_draw_that_the_seed_and_the_step_decide() -> None:
    seen: list[Outputs] = []
    made = distiller("ce + icd", related=10, seed=5)
    icd = made.objective.methods[1]
    icd.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    made.progress(3, 0, 0.1)
    made(batch_of())
    made(batch_of())
    made.progress(4, 0, 0.1)
    made(batch_of())
    assert [len(each.embedding) for each in seen] == [10, 10, 10]
    assert torch.equal(seen[0].embedding, seen[1].embedding)
    assert not torch.equal(seen[0].embedding, seen[2].embedding)
    whole = distiller("ce + icd", related=10**6)
    assert torch.isfinite(whole(batch_of()).total)


def test_mgd_analyzes_pixels() -> None:
    made = distiller("mgd(0.2*ce + 0.8*kd, epochs=1)", related=10)
    import limbeck

    limbeck.prepare(made, [batch_of()], display=False, device="cpu")
    losses = made(batch_of())
    assert {"mgd.ce", "mgd.kd", "mgd.low", "mgd.high"} == set(losses)
    assert all(torch.isfinite(value) for value in losses.values())


def test_what_needs_one_row_for_each_sample_is_refused_by_name() -> None:
    with pytest.raises(
        LimbeckError, match="simkd is for tasks with one decision for each sample, and maps has"
    ):
        distiller("ce + simkd")


def test_a_regression_method_is_refused_by_name() -> None:
    with pytest.raises(LimbeckError, match="mse is about values, and the outputs of maps are classes"):
        distiller("ce + kd + mse")
