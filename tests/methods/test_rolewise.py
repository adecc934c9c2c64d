"""The rule against a naive loop with a backward pass for each loss, from every door into training."""

from __future__ import annotations

import copy
import io
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from bare_loops import Loop, accumulated, by_closure, prepared, scaled, setting_
from method_setting import Setting, make_setting
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from limbeck import Batch, Distiller, LimbeckError, Trainer
from limbeck.methods.rolewise import restrained
from limbeck.optimization import SGD, Adam
from limbeck.training.guard import step_unless
from scripted_loop import ScriptedLoop
from two_processes import run_in_two_processes

MAKES: dict[str, Any] = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01),
    "fused sgd": SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": partial(torch.optim.Adam, lr=0.01, weight_decay=0.01),
    "adamw": Adam(name="adamw", lr=0.01, weight_decay=0.01),
}
INSIDE = {
    "every parameter has both gradients": "ce + 20*kd",
    "the classifier has one, an adapter the other": "ce + 50*projected",
    "peers have terms of their own": "dml",
}
STEPS = 5


def naive(
    base: str,
    make: Any = MAKES["sgd"],
    *,
    epoch: Callable[[int], int] = lambda step: step,
    clip: float | None = None,
    unlimited: bool = False,
) -> dict[str, Tensor]:
    """Student and parts after the rule's steps, one parameter after the other, in an optimizer of torch."""
    setting = setting_()
    distiller = prepared(setting, base)
    mine = [p for p in distiller.parameters() if p.requires_grad]
    optimizer = make(mine)
    for step in range(STEPS):
        terms = distiller(setting.inputs, setting.targets).terms.values()
        of = {"kd": ("distillation",), "task": ("task", "own")}
        kd, task = (
            torch.autograd.grad(
                sum(t.weight * t.value for t in terms if t.kind in kinds),
                mine,
                retain_graph=True,
                allow_unused=True,
            )
            for kinds in of.values()
        )
        parts = list(zip(kd, task, strict=True))
        whole = [sum(g for g in pair if g is not None) for pair in parts]
        norm = sum(float(g.square().sum()) for g in whole if isinstance(g, Tensor)) ** 0.5
        scale = min(1.0, clip / (norm + 1e-6)) if clip else 1.0
        for parameter, (from_kd, from_task) in zip(mine, parts, strict=True):
            if from_kd is not None and from_task is not None and not unlimited:
                length = math.sqrt(sum(value**2 for value in from_kd.flatten().tolist()))
                limit = math.sqrt(sum(value**2 for value in from_task.flatten().tolist()))
                limit *= math.exp(epoch(step)) / (1 + math.exp(epoch(step)))
                from_kd = from_kd * (limit / length if length > limit else 1)
            parameter.grad = scale * torch.stack([g for g in (from_kd, from_task) if g is not None]).sum(0)
        optimizer.step()
    return distiller.state_dict()


def rolewise(base: str, make: Any = MAKES["sgd"], loop: Loop | None = None) -> dict[str, Tensor]:
    """The same by `rolewise`, in a bare loop with a step an epoch."""
    setting = setting_()
    distiller = prepared(setting, f"rolewise({base})")
    optimizer = distiller.optimizer(make)
    for step in range(STEPS):
        distiller.progress(step, step, step / STEPS)
        if loop is None:
            distiller(setting.inputs, setting.targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        else:
            loop(distiller, optimizer)
    return distiller.state_dict()


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], rtol: float = 1e-8) -> None:
    for ours, (name, theirs) in zip(found.values(), expected.items(), strict=True):  # ours have longer names
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=1e-10, msg=name)


def test_a_gradient_is_shortened_to_a_share_of_the_tasks() -> None:
    kd, task = torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([[0.0, 2.0], [0.0, 0.0]])
    torch.testing.assert_close(restrained(kd, task, 0), kd / 5)  # 2 / 2 of a length of 5
    torch.testing.assert_close(restrained(kd, task, 3), kd * 2 / 5 / (1 + math.exp(-3)))
    assert torch.equal(restrained(kd, 6 * task, 0), kd)
    assert torch.equal(restrained(0 * kd, task, 0), 0 * kd)
    assert torch.equal(restrained(0 * kd, 0 * task, 0), 0 * kd)
    assert torch.equal(restrained(kd, 0 * task, 0), 0 * kd)
    assert restrained(kd.bfloat16(), task.bfloat16(), 10**6).dtype == torch.bfloat16


def test_gradients_of_two_parameters_and_epochs_before_the_first_are_refused() -> None:
    with pytest.raises(LimbeckError, match=r"two gradients of one parameter, not \(2,\) and \(3,\)"):
        restrained(torch.ones(2), torch.ones(3), 0)
    with pytest.raises(LimbeckError, match="rolewise counts epochs from 0, not -1"):
        restrained(torch.ones(2), torch.ones(2), -1)


@pytest.mark.parametrize("base", INSIDE.values(), ids=INSIDE.keys())
@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES.keys())
def test_it_is_the_rule_with_any_optimizer(base: str, make: Any) -> None:
    found = rolewise(base, make)
    assert_close(found, naive(base, make))
    if base != "dml":  # whose distillation is weak at first
        for other in (naive(base, make, epoch=lambda step: 0), naive(base, make, unlimited=True)):
            with pytest.raises(AssertionError):
                assert_close(found, other)


def cleared_in_place(distiller: Distiller, optimizer: torch.optim.Optimizer) -> None:
    """A step that was called off, with another gradient, and then a step."""
    setting = setting_()
    distiller(setting.inputs[:3], setting.targets[:3]).backward(7.0)
    distiller.zero_grad(False)
    distiller(setting.inputs, setting.targets).backward()
    optimizer.step()
    distiller.zero_grad(False)


@pytest.mark.parametrize("loop", [accumulated, scaled, by_closure, cleared_in_place])
@pytest.mark.parametrize("base", ["ce + 20*kd", "ce + 50*projected"])
def test_in_any_bare_loop(loop: Loop, base: str) -> None:
    assert_close(rolewise(base, loop=loop), naive(base))


def test_a_step_leaves_the_gradients_as_they_were() -> None:
    setting = setting_()
    distiller = prepared(setting, "rolewise(ce + 20*kd)")
    optimizer = distiller.optimizer(MAKES["sgd"])
    distiller.progress(0, 0, 0.0)
    distiller(setting.inputs, setting.targets).backward()
    before = [p.grad.clone() for p in distiller.student.parameters() if p.grad is not None]
    optimizer.step()
    after = [p.grad for p in distiller.student.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True) if b is not None)


def test_rates_follow_a_schedule_also_after_the_state_was_taken_back() -> None:
    setting = setting_()
    distiller = prepared(setting, "rolewise(ce + 20*kd)")
    optimizer = distiller.optimizer(MAKES["sgd"])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step != 1))
    optimizer.load_state_dict(optimizer.state_dict())
    distiller.progress(0, 0, 0.0)
    moved = []
    for _ in range(3):
        before = copy.deepcopy(distiller.student.state_dict())
        distiller(setting.inputs, setting.targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        moved.append(any(not torch.equal(t, before[n]) for n, t in distiller.student.state_dict().items()))
    assert moved == [True, False, True]


def trained(
    base: str, setting: Setting, batch: Batch, make: Any = MAKES["fused sgd"], **settings: Any
) -> dict[str, Tensor]:
    """The state after five epochs of a step each by the Trainer."""
    distiller = prepared(setting, f"rolewise({base})")

    @contextmanager
    def opened() -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        yield distiller, distiller.optimizer(make)

    stage = ScriptedLoop("training", opened, lambda epoch: [batch], STEPS)
    Trainer(display=False, device="cpu", **settings).fit(distiller, [stage])
    return distiller.state_dict()


@pytest.mark.parametrize("base", ["ce + 20*kd", "ce + 50*projected"])
@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES.keys())
def test_in_the_trainer_with_accumulation_and_clipping(base: str, make: Any) -> None:
    setting = setting_()
    batch = Batch(setting.inputs, setting.targets)
    found = trained(base, setting, batch, make, accumulation=3, clip=0.05)
    # Adam's first step hardly depends on the length of a gradient, so rounding shows there.
    assert_close(found, naive(base, make, clip=0.05), rtol=1e-6)


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES.keys())
def test_a_blocked_step_leaves_weights_and_state_alone(make: Any) -> None:
    setting = setting_()
    distiller = prepared(setting, "rolewise(ce + 20*kd)")
    optimizer = distiller.optimizer(make)
    distiller.progress(0, 0, 0.0)
    distiller(setting.inputs, setting.targets).backward()
    optimizer.step()
    optimizer.zero_grad()
    before = copy.deepcopy((distiller.state_dict(), optimizer.state_dict()["state"]))
    distiller(setting.inputs * torch.nan, setting.targets).backward()
    step_unless(torch.tensor(True), optimizer)
    optimizer.zero_grad()
    assert_close(distiller.state_dict(), before[0], rtol=0)
    for number, state in optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, before[1][number][name]) for name, value in state.items())
    distiller(setting.inputs, setting.targets).backward()
    step_unless(torch.tensor(False), optimizer)
    with pytest.raises(AssertionError):
        assert_close(distiller.state_dict(), before[0], rtol=0)


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES.keys())
def test_a_first_step_that_is_blocked_is_as_if_it_had_not_been(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "empty_like", lambda like, **_: torch.full_like(like, 1e22))
    ends = []
    for blocked in ([True, False], [False]):
        setting = setting_()
        distiller = prepared(setting, "rolewise(ce + 20*kd)")
        optimizer = distiller.optimizer(make)
        distiller.progress(0, 0, 0.0)
        for bad in blocked:
            inputs = setting.inputs * (torch.nan if bad else 1)
            distiller(inputs, setting.targets).backward()
            step_unless(torch.tensor(bad), optimizer)
            optimizer.zero_grad()
        ends.append(distiller.state_dict())
    assert all(torch.equal(*pair) for pair in zip(*(end.values() for end in ends), strict=True))


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES.keys())
def test_state_is_saved_and_taken_back_to_the_bit(make: Any) -> None:
    setting = setting_()
    straight, resumed = (prepared(setting, "rolewise(ce + 50*projected)") for _ in range(2))
    optimizer = straight.optimizer(make)

    def steps(distiller: Distiller, optimizer: torch.optim.Optimizer, first: int) -> None:
        for step in range(first, first + 3):
            distiller.progress(step, step, 0.0)
            distiller(setting.inputs, setting.targets).backward()
            optimizer.step()
            optimizer.zero_grad()

    steps(straight, optimizer, 0)
    file = io.BytesIO()
    torch.save([straight.state_dict(), optimizer.state_dict()], file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    resumed.load_state_dict(weights)
    again = resumed.optimizer(make)
    again.load_state_dict(state)
    steps(straight, optimizer, 3)
    steps(resumed, again, 3)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_copy_has_an_epoch_and_an_optimizer_of_its_own() -> None:
    setting = setting_()
    distiller = prepared(setting, "rolewise(ce + 20*kd)")
    copied = copy.deepcopy(distiller)
    states = []
    for each, epoch in ((distiller, 0), (copied, 50)):
        optimizer = each.optimizer(MAKES["sgd"])
        each.progress(0, epoch, 0.0)
        losses = each(setting.inputs, setting.targets)
        distiller(setting.inputs, setting.targets)  # which tells only its own optimizer the epoch
        losses.backward()
        optimizer.step()
        states.append(each.state_dict())
    with pytest.raises(AssertionError):
        assert_close(states[0], states[1])


def test_a_step_waits_for_nothing_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = setting_()
    distiller = prepared(setting, "rolewise(ce + 20*kd)")
    optimizer = distiller.optimizer(MAKES["fused sgd"])
    distiller.progress(0, 0, 0.0)
    losses = distiller(setting.inputs, setting.targets)
    looks: list[str] = []
    for name in ("item", "__bool__", "__float__", "tolist"):
        monkeypatch.setattr(Tensor, name, lambda *args, name=name: looks.append(name))
    losses.backward()
    step_unless(torch.tensor(True), optimizer)
    monkeypatch.undo()
    assert looks == []


# Two processes


def ddp_loop(rank: int, world: int, base: str) -> dict[str, Tensor]:
    setting = setting_()
    distiller = prepared(setting, f"rolewise({base})")
    wrapped = DistributedDataParallel(distiller, find_unused_parameters=True)
    optimizer = distiller.optimizer(MAKES["fused sgd"])
    inputs, targets = setting.inputs.chunk(world)[rank], setting.targets.chunk(world)[rank]
    for step in range(STEPS):
        distiller.progress(step, step, 0.0)
        wrapped(inputs, targets).backward()
        torch.nn.utils.clip_grad_norm_(distiller.parameters(), 0.05)
        optimizer.step()
        optimizer.zero_grad()
    return distiller.state_dict()


def trainer_loop(rank: int, world: int, base: str) -> dict[str, Tensor]:
    from accelerate.state import AcceleratorState

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "ACCELERATE_USE_CPU": "true"}
    AcceleratorState._reset_state(reset_partial_state=True)
    setting = setting_()
    share = slice(0, 6) if rank == 0 else slice(6, 16)
    batch = Batch(setting.inputs[share], setting.targets[share], total=16)
    return trained(base, setting, batch, accumulation=2, clip=0.05)


JOBS: dict[str, Callable[..., Any]] = {"ddp": ddp_loop, "trainer": trainer_loop}


@pytest.fixture(scope="module")
def two() -> dict[str, list[dict[str, Tensor]]]:
    jobs: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [(job, ("ce + 20*kd",)) for job in JOBS.values()]
    results = run_in_two_processes(jobs, paths=[Path(__file__).parent, *map(Path, sys.path)])
    return dict(zip(JOBS, results, strict=True))


@pytest.mark.parametrize("job", JOBS)
def test_two_processes_end_with_the_weights_of_one(job: str, two: dict[str, list[dict[str, Tensor]]]) -> None:
    expected = naive("ce + 20*kd", MAKES["fused sgd"], clip=0.05)
    for state in two[job]:
        assert_close(state, expected, rtol=1e-7)


# Mistakes


def test_the_epoch_has_to_be_told() -> None:
    setting = setting_()
    distiller = prepared(setting, "rolewise(ce + kd)")
    with pytest.raises(LimbeckError, match=r"call distiller\.progress\(\.\.\.\) before each step"):
        distiller(setting.inputs, setting.targets)


def test_one_objective_has_one_rule() -> None:
    with pytest.raises(LimbeckError, match="has 2: dot and rolewise; keep one"):
        make_setting().distiller("dot(ce + kd) + rolewise(ce + kd)")
