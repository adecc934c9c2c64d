"""DOT's rule against a naive loop with a backward pass for each loss, from every door into training."""

from __future__ import annotations

import copy
import io
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
from limbeck.methods import DOT
from limbeck.methods.dot import DOTOptimizer
from limbeck.optimization import SGD, Adam, Cosine
from limbeck.training.guard import step_unless
from scripted_loop import ScriptedLoop
from two_processes import run_in_two_processes

LR, MOMENTUM, DELTA, DECAY = 0.1, 0.9, 0.075, 0.01
PLAIN = partial(torch.optim.SGD, lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
FUSED = SGD(lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
INSIDE = {
    "every parameter has both gradients": "0.1*ce + 0.9*kd",
    "the classifier has one, an adapter the other": "ce + 5*projected",
    "a discriminator has an optimizer of its own": "ce + 0.9*kd + 0.1*adversarial",
    "peers have terms of their own": "dml",
}
inside = pytest.mark.parametrize("base", INSIDE.values(), ids=INSIDE.keys())


def naive(base: str, *, steps: int = 5, delta: float = DELTA, clip: float | None = None) -> dict[str, Tensor]:
    """Student and parts after `steps` of the paper's rule, one parameter after the other."""
    setting = setting_()
    distiller = prepared(setting, base)
    claims = [claim for method in distiller.objective.wrapped for claim in method.claims()]
    claimed = {id(p) for claim in claims for p in claim.module.parameters()}
    others = [claim.optimizer(claim.module.parameters()) for claim in claims]
    mine = [p for p in distiller.parameters() if p.requires_grad and id(p) not in claimed]
    momenta: dict[tuple[str, Tensor], Tensor] = {}
    for _ in range(steps):
        terms = distiller(setting.inputs, setting.targets).terms.values()
        of = [("kd", ("distillation",)), ("task", ("task", "own"))]
        losses = {name: sum(t.weight * t.value for t in terms if t.kind in kinds) for name, kinds in of}
        for optimizer in others:
            optimizer.zero_grad()
        if others:
            losses["task"].backward(retain_graph=True, inputs=[*_parameters(others)])
        found = {
            name: torch.autograd.grad(loss, mine, retain_graph=True, allow_unused=True)
            for name, loss in losses.items()
        }
        whole = [sum(g for g in pair if g is not None) for pair in zip(*found.values(), strict=True)]
        norm = sum(float(g.square().sum()) for g in whole if isinstance(g, Tensor)) ** 0.5
        scale = min(1.0, clip / (norm + 1e-6)) if clip else 1.0
        with torch.no_grad():
            for parameter, kd, task in zip(mine, *found.values(), strict=True):
                before = parameter.clone()
                for name, gradient, both_momentum, both_decay in (
                    ("kd", kd, MOMENTUM + delta, 0),
                    ("task", task, MOMENTUM - delta, DECAY),
                ):
                    if gradient is None:
                        continue
                    both = kd is not None and task is not None
                    momentum, decay = (both_momentum, both_decay) if both else (MOMENTUM, DECAY)
                    old = momenta.get((name, parameter), torch.zeros_like(parameter))
                    momenta[name, parameter] = momentum * old + scale * gradient + decay * before
                    parameter -= LR * momenta[name, parameter]
        for optimizer in others:
            optimizer.step()
    return distiller.state_dict()


def _parameters(optimizers: list[torch.optim.Optimizer]) -> Iterator[Tensor]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            yield from group["params"]


def dot(base: str, loop: Loop | None = None, *, make: Any = PLAIN, steps: int = 5) -> dict[str, Tensor]:
    """The same by `dot`, in a bare loop."""
    setting = setting_()
    distiller = prepared(setting, f"dot({base}, delta={DELTA})")
    optimizer = distiller.optimizer(make)
    for _ in range(steps):
        if loop is None:
            distiller(setting.inputs, setting.targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        else:
            loop(distiller, optimizer)
    return distiller.state_dict()


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], rtol: float = 1e-9) -> None:
    for ours, (name, theirs) in zip(found.values(), expected.items(), strict=True):  # dot's have longer names
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=1e-12, msg=name)


@inside
@pytest.mark.parametrize("make", [PLAIN, FUSED, partial(PLAIN, foreach=True)])
def test_it_is_the_papers_rule(base: str, make: Any) -> None:
    found, expected = dot(base, make=make), naive(base)
    assert_close(found, expected)
    with pytest.raises(AssertionError):
        assert_close(found, naive(base, delta=0))


@inside
def test_without_a_difference_it_is_sgd(base: str) -> None:
    setting = setting_()
    states = []
    for objective in (f"dot({base}, delta=0)", base):
        distiller = prepared(setting, objective)
        optimizer = distiller.optimizer(PLAIN)
        for _ in range(5):
            distiller(setting.inputs, setting.targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        states.append(distiller.state_dict())
    assert_close(states[0], states[1])


def test_wherever_it_stands_it_is_the_whole_objectives() -> None:
    setting = setting_()
    states = []
    for objective in ("dot(0.1*ce + 0.9*kd + 0.5*at)", "dot(0.1*ce + 0.9*kd) + 0.5*at"):
        distiller = setting.distiller(objective)
        optimizer = distiller.optimizer(PLAIN)
        for _ in range(3):
            distiller(setting.inputs, setting.targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        states.append(distiller.student.state_dict())
    assert_close(states[0], states[1])


def cleared(clear: Callable[[Distiller, torch.optim.Optimizer], None]) -> Loop:
    """A step that was called off, with another gradient, and then a step."""

    def loop(distiller: Distiller, optimizer: torch.optim.Optimizer) -> None:
        setting = setting_()
        distiller(setting.inputs[:3], setting.targets[:3]).backward(7.0)
        clear(distiller, optimizer)
        distiller(setting.inputs, setting.targets).backward()
        optimizer.step()
        clear(distiller, optimizer)

    return loop


LOOPS: dict[str, Loop] = {
    "accumulation": accumulated,
    "zero_grad of the optimizer": cleared(lambda distiller, optimizer: optimizer.zero_grad()),
    "zero_grad of the optimizer, in place": cleared(lambda _, optimizer: optimizer.zero_grad(False)),
    "zero_grad of the module": cleared(lambda distiller, optimizer: distiller.zero_grad()),
    "zero_grad of the module, in place": cleared(lambda distiller, _: distiller.zero_grad(False)),
    "a gradient scaler": scaled,
    "a closure": by_closure,
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("base", ["0.1*ce + 0.9*kd", "ce + 5*projected"])
def test_in_any_bare_loop(loop: str, base: str) -> None:
    assert_close(dot(base, LOOPS[loop]), naive(base))


def test_clipping_scales_both_parts_alike() -> None:
    def clipped(distiller: Distiller, optimizer: torch.optim.Optimizer) -> None:
        setting = setting_()
        distiller(setting.inputs, setting.targets).backward()
        torch.nn.utils.clip_grad_norm_(distiller.parameters(), 0.05)
        optimizer.step()
        optimizer.zero_grad()

    for base in ("0.1*ce + 0.9*kd", "ce + 5*projected"):
        expected = naive(base, clip=0.05)
        assert_close(dot(base, clipped), expected)
        with pytest.raises(AssertionError):
            assert_close(dot(base), expected)


def trained(
    objective: str, setting: Setting, batch: Batch, make: Any = FUSED, **settings: Any
) -> tuple[Distiller, torch.optim.Optimizer]:
    """A Distiller and its optimizer after five steps by the Trainer."""
    distiller = prepared(setting, objective)
    made = []

    @contextmanager
    def opened() -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        made.append(distiller.optimizer(make))
        yield distiller, made[0]

    stage = ScriptedLoop("training", opened, lambda epoch: [batch], 5)
    Trainer(display=False, device="cpu", **settings).fit(distiller, [stage])
    return distiller, made[0]


@pytest.mark.parametrize("base", ["0.1*ce + 0.9*kd", "ce + 5*projected"])
@pytest.mark.parametrize("make", [PLAIN, FUSED])
def test_in_the_trainer_with_accumulation_and_clipping(base: str, make: Any) -> None:
    setting = setting_()
    batch = Batch(setting.inputs, setting.targets)
    distiller, _ = trained(f"dot({base})", setting, batch, make, accumulation=3, clip=0.05)
    assert_close(distiller.state_dict(), naive(base, clip=0.05))


@pytest.mark.parametrize("make", [PLAIN, FUSED])
@pytest.mark.parametrize("first", [True, False])
def test_a_blocked_step_leaves_both_momenta_alone(make: Any, first: bool) -> None:
    setting = setting_()
    distiller = setting.distiller("dot(0.1*ce + 0.9*kd)")
    optimizer = distiller.optimizer(make)
    if not first:
        distiller(setting.inputs, setting.targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    before = copy.deepcopy((distiller.state_dict(), optimizer.state_dict()["state"]))
    distiller(setting.inputs * torch.nan, setting.targets).backward()
    step_unless(torch.tensor(True), optimizer)
    optimizer.zero_grad()
    assert_close(distiller.state_dict(), before[0], rtol=0)
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            expected = torch.zeros_like(value) if first else before[1][number][name]
            assert torch.equal(value, expected)
    distiller(setting.inputs, setting.targets).backward()
    step_unless(torch.tensor(False), optimizer)
    assert_close(distiller.state_dict(), naive("0.1*ce + 0.9*kd", steps=1 if first else 2))


@pytest.mark.parametrize("base", ["ce + 5*projected", "ce + 0.9*kd + 0.1*adversarial"])
def test_state_is_saved_and_taken_back_to_the_bit(base: str) -> None:
    setting = setting_()
    straight, resumed = prepared(setting, f"dot({base})"), prepared(setting, f"dot({base})")
    optimizer = straight.optimizer(FUSED)

    def steps(distiller: Distiller, optimizer: torch.optim.Optimizer) -> None:
        schedule = Cosine()(optimizer, 3, 1)
        for _ in range(3):
            distiller(setting.inputs, setting.targets).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()

    steps(straight, optimizer)
    file = io.BytesIO()
    torch.save([straight.state_dict(), optimizer.state_dict()], file)
    file.seek(0)
    weights, state = torch.load(file, weights_only=True)
    resumed.load_state_dict(weights)
    again = resumed.optimizer(FUSED)
    again.load_state_dict(state)
    steps(straight, optimizer)
    steps(resumed, again)
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    names = {name for part in state.get("parts", [state])[:1] for s in part["state"].values() for name in s}
    assert names == {"task_momentum", "distillation_momentum"}


def test_a_step_waits_for_nothing_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = setting_()
    distiller = setting.distiller("dot(0.1*ce + 0.9*kd)")
    optimizer = distiller.optimizer(FUSED)
    losses = distiller(setting.inputs, setting.targets)
    looks: list[str] = []
    for name in ("item", "__bool__", "__float__", "tolist"):
        monkeypatch.setattr(Tensor, name, lambda *args, name=name: looks.append(name))
    losses.backward()
    step_unless(torch.tensor(True), optimizer)
    monkeypatch.undo()
    assert looks == []


def test_a_copy_asks_for_its_own_optimizer() -> None:
    setting = setting_()
    distiller = setting.distiller("dot(0.1*ce + 0.9*kd)")
    optimizer = distiller.optimizer(PLAIN)
    copied = copy.deepcopy(distiller)
    with pytest.raises(LimbeckError, match="has a rule for the optimizer; make that with"):
        copied(setting.inputs, setting.targets).backward()
    copied.optimizer(PLAIN)
    copied(setting.inputs, setting.targets).backward()
    assert all(p.grad is None for p in distiller.parameters())
    optimizer.step()
    assert_close(copied.state_dict(), distiller.state_dict(), rtol=0)


def test_in_bfloat16_and_with_channels_last() -> None:
    setting = make_setting()
    distiller = setting.distiller("dot(0.1*ce + 0.9*kd)")
    distiller.student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    distiller.to(torch.bfloat16)
    optimizer = distiller.optimizer(FUSED)
    totals = []
    for _ in range(10):
        losses = distiller(setting.inputs.bfloat16(), setting.targets)
        losses.backward()
        optimizer.step()
        optimizer.zero_grad()
        totals.append(losses.total.item())
    assert totals[-1] < totals[0]
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for momentum in optimizer.state[parameter].values():
                assert (momentum.dtype, momentum.stride()) == (parameter.dtype, parameter.stride())


# Two processes


def ddp_loop(rank: int, world: int, base: str, accumulation: int) -> dict[str, Tensor]:
    setting = setting_()
    distiller = prepared(setting, f"dot({base})")
    wrapped = DistributedDataParallel(distiller, find_unused_parameters=True)
    optimizer = distiller.optimizer(FUSED)
    inputs, targets = setting.inputs.chunk(world)[rank], setting.targets.chunk(world)[rank]
    for _ in range(5):
        *early, (last_inputs, last_targets) = zip(
            inputs.chunk(accumulation), targets.chunk(accumulation), strict=True
        )
        with wrapped.no_sync():
            for piece in early:
                wrapped(*piece).backward(1 / accumulation)
        wrapped(last_inputs, last_targets).backward(1 / accumulation)
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
    distiller, _ = trained(f"dot({base})", setting, batch, accumulation=2, clip=0.05)
    return distiller.state_dict()


BASES = ("0.1*ce + 0.9*kd", "ce + 5*projected", "ce + 0.9*sp")
JOBS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    **{f"ddp {base}": (ddp_loop, (base, 1)) for base in BASES},
    "ddp accumulating": (ddp_loop, (BASES[0], 4)),
    "trainer": (trainer_loop, (BASES[0],)),
}


@pytest.fixture(scope="module")
def two() -> dict[str, list[dict[str, Tensor]]]:
    results = run_in_two_processes(list(JOBS.values()), paths=[Path(__file__).parent, *map(Path, sys.path)])
    return dict(zip(JOBS, results, strict=True))


@pytest.mark.parametrize("job", JOBS)
def test_two_processes_end_with_the_weights_of_one(job: str, two: dict[str, list[dict[str, Tensor]]]) -> None:
    expected = naive(JOBS[job][1][0], clip=0.05)
    for state in two[job]:
        assert_close(state, expected, rtol=1e-8)


# Mistakes


@pytest.mark.parametrize(
    "objective", ["dot(dot(ce + kd))", "dot(ce + kd) + dot(ce + kd)", "dot(ce + mgd(dot(ce + kd)))"]
)
def test_one_objective_has_one_rule(objective: str) -> None:
    with pytest.raises(LimbeckError, match=r"an optimizer follows one gradient rule.*has 2: dot and dot"):
        make_setting().distiller(objective)


@pytest.mark.parametrize(
    ("make", "delta", "message"),
    [
        (Adam(), 0.075, "dot is a rule for torch.optim.SGD with momentum, not Adam"),
        (partial(PLAIN, nesterov=True), 0.075, "dot is a rule for plain SGD; leave nesterov=True out"),
        (partial(PLAIN, dampening=0.1), 0.075, "dot is a rule for plain SGD; leave dampening=0.1 out"),
        (partial(PLAIN, maximize=True), 0.075, "dot is a rule for plain SGD; leave maximize=True out"),
        (partial(PLAIN, momentum=0), 0.075, "0 - 0.075 and 0 + 0.075; the first must not be below 0"),
        (PLAIN, 0.91, "0.9 - 0.91 and 0.9 + 0.91"),
        (PLAIN, 0.1, "and the second must be below 1"),
    ],
)
def test_the_optimizer_is_sgd_with_room_for_two_momenta(make: Any, delta: float, message: str) -> None:
    distiller = make_setting().distiller(f"dot(0.1*ce + 0.9*kd, delta={delta})")
    with pytest.raises(LimbeckError) as caught:
        distiller.optimizer(make)
    assert message in str(caught.value)


def test_a_group_that_is_added_follows_the_rule_too() -> None:
    setting = setting_()
    distiller = setting.distiller("dot(0.1*ce + 0.9*kd)")
    optimizer = distiller.optimizer(PLAIN)
    assert isinstance(optimizer, DOTOptimizer)
    with pytest.raises(LimbeckError, match="and the second must be below 1"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "momentum": 0.95})


def test_a_schedule_of_the_momentum_keeps_room_too() -> None:
    setting = setting_()
    distiller = setting.distiller("dot(0.1*ce + 0.9*kd)")
    optimizer = distiller.optimizer(PLAIN)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)  # which starts at a momentum of 0.95
    distiller(setting.inputs, setting.targets).backward()
    with pytest.raises(LimbeckError, match=r"0\.95 \+ 0\.075"):
        optimizer.step()


def test_a_delta_is_not_negative() -> None:
    with pytest.raises(
        LimbeckError, match=r"dot: the argument delta=-0\.1 should be greater than or equal to 0"
    ):
        DOT(make_setting().distiller("ce + kd").objective, delta=-0.1)


def test_no_loop_trains_by_plain_sgd_unnoticed() -> None:
    setting = setting_()
    distiller = setting.distiller("dot(0.1*ce + 0.9*kd)")
    with pytest.raises(
        LimbeckError, match=r"make that with distiller\.optimizer\(\.\.\.\) before losses\.backw"
    ):
        distiller(setting.inputs, setting.targets).backward()
    optimizer = distiller.optimizer(PLAIN)
    optimizer.step()  # nothing to do, as with torch's own
    for _ in range(2):
        distiller(setting.inputs, setting.targets).total.backward()  # as Lightning does, and accelerate
        with pytest.raises(LimbeckError, match=r"call losses\.backward\(\) in its place"):
            optimizer.step()
        optimizer.zero_grad()
        distiller(setting.inputs, setting.targets).backward()
        optimizer.step()
        optimizer.zero_grad()
