"""Schedules against naive formulas, optimizers against torch's own, several optimizers behind one."""

from __future__ import annotations

import io
import math
import sys
from typing import Any

import pytest
import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.optimization import (
    SGD,
    Adam,
    Constant,
    Cosine,
    JointOptimizer,
    Lion,
    MultiStep,
    Muon,
    OneCycle,
    OptimizerConfig,
    Schedule,
    ScheduleConfig,
    parts_of,
)
from limbeck.optional import MissingPackageError


def factors(schedule: Schedule, steps_per_epoch: int, epochs: int) -> list[float]:
    return [schedule.at(step, steps_per_epoch, epochs) for step in range(steps_per_epoch * epochs)]


@pytest.mark.parametrize(
    ("schedule", "steps_per_epoch", "epochs", "expected"),
    [
        (Constant(), 2, 2, [1, 1, 1, 1]),
        (Constant(warmup=1), 4, 2, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        (Constant(warmup=0.5), 4, 1, [0.5, 1, 1, 1]),
        (Constant(warmup=3), 2, 2, [1 / 6, 2 / 6, 3 / 6, 4 / 6]),
        (MultiStep(milestones=(1, 3)), 2, 4, [1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        (MultiStep(milestones=(3, 1), factor=0.5), 1, 4, [1, 0.5, 0.5, 0.25]),
        (MultiStep(milestones=(0.5,)), 4, 1, [1, 1, 0.1, 0.1]),
        (MultiStep(milestones=()), 1, 3, [1, 1, 1]),
        (MultiStep(milestones=(2,), warmup=1), 2, 3, [0.5, 1, 1, 1, 0.1, 0.1]),
        (MultiStep(milestones=(150, 180, 210)), 1, 240, [1] * 150 + [0.1] * 30 + [0.01] * 30 + [0.001] * 30),
        (Cosine(), 4, 1, [1, 0.8535534, 0.5, 0.1464466]),
        (Cosine(), 1, 1, [1]),
        (Cosine(warmup=1), 2, 3, [0.5, 1, 1, 0.8535534, 0.5, 0.1464466]),
        (
            OneCycle(),
            10,
            1,
            [0.36, 0.68, 1, 1, 0.9504844, 0.8117449, 0.6112605, 0.3887395, 0.1882551, 0.0495156],
        ),
        (OneCycle(warmup=1), 2, 3, [0.52, 1, 1, 0.8535534, 0.5, 0.1464466]),
    ],
)
def test_factors_by_hand(
    schedule: Schedule, steps_per_epoch: int, epochs: int, expected: list[float]
) -> None:
    assert factors(schedule, steps_per_epoch, epochs) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(7, 240), (1, 30), (13, 3)])
@pytest.mark.parametrize("warmup", [0, 1, 2.5])
def test_cosine_and_one_cycle_against_the_formulas(steps_per_epoch: int, epochs: int, warmup: float) -> None:
    for schedule, rise, start in (
        (Cosine(warmup=warmup), warmup * steps_per_epoch, 0.0),
        (OneCycle(warmup=warmup), (warmup or 0.3 * epochs) * steps_per_epoch, 0.04),
    ):
        for step, factor in enumerate(factors(schedule, steps_per_epoch, epochs)):
            if step < rise:
                expected = min(1.0, start + (1 - start) * (step + 1) / rise)
            else:
                fraction = (step - rise) / (epochs * steps_per_epoch - rise)
                expected = (1 + math.cos(math.pi * fraction)) / 2
            assert factor == pytest.approx(expected, abs=1e-12), (schedule, step)


@pytest.mark.parametrize(
    "schedule", [Constant, Cosine, OneCycle, lambda **kw: MultiStep(milestones=(2,), **kw)]
)
@pytest.mark.parametrize("warmup", [0, 0.1, 0.37, 1, 50])
@pytest.mark.parametrize("steps_per_epoch", [1, 3, 5])
def test_a_rate_rises_to_its_peak_once_and_then_falls(
    schedule: Any, warmup: float, steps_per_epoch: int
) -> None:
    for epochs in (1, 2, 7):
        found = factors(schedule(warmup=warmup), steps_per_epoch, epochs)
        peak = found.index(max(found))
        assert found[: peak + 1] == sorted(found[: peak + 1])
        assert found[peak:] == sorted(found[peak:], reverse=True)
        assert all(0 < factor <= 1 for factor in found)
        assert (max(found) == 1) == (warmup <= epochs), "also where the rise ends within a step"


def test_a_schedule_goes_on_after_its_end() -> None:
    assert Cosine().at(100, 2, 3) == 0
    assert Cosine(warmup=3).at(6, 2, 3) == 0
    assert Constant(warmup=1).at(100, 2, 3) == 1


def test_a_schedule_drives_an_optimizer() -> None:
    optimizer = SGD(lr=0.5, momentum=0)([nn.Parameter(torch.zeros(1))])
    scheduler = MultiStep(milestones=(1,), warmup=0.5)(optimizer, 4, 2)
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.25, 0.5, 0.5, 0.5, 0.05, 0.05, 0.05, 0.05])
    again = MultiStep(milestones=(1,), warmup=0.5)(optimizer, 4, 2)
    again.load_state_dict(scheduler.state_dict())
    assert again.get_last_lr() == scheduler.get_last_lr()


def test_optimizers_are_what_they_say() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    sgd = SGD(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01)([parameter])
    assert type(sgd) is torch.optim.SGD
    group = sgd.param_groups[0]
    assert [group[key] for key in ("lr", "momentum", "nesterov", "weight_decay", "dampening")] == [
        0.1,
        0.8,
        True,
        0.01,
        0,
    ]
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        adam = Adam(name=name, lr=0.2, betas=(0.5, 0.9), weight_decay=0.3)([parameter])
        assert type(adam) is kind
        group = adam.param_groups[0]
        assert [group[key] for key in ("lr", "betas", "weight_decay")] == [0.2, (0.5, 0.9), 0.3]


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_bits_of_sgd_are_torchs(momentum: float, nesterov: bool, weight_decay: float) -> None:
    settings: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 37)) for _ in range(2))
    pairs = (
        (ours, SGD(lr=0.1, **settings)([ours])),
        (theirs, torch.optim.SGD([theirs], lr=0.1, fused=True, **settings)),
    )
    numbers = torch.Generator().manual_seed(0)
    for _ in range(5):
        gradient = torch.randn(37, generator=numbers)
        gradient[:2] = torch.tensor([0.0, -0.0])
        for parameter, optimizer in pairs:
            parameter.grad = gradient.clone()
            optimizer.step()
        assert torch.equal(ours, theirs)
        assert torch.equal(ours.view(torch.int32), theirs.view(torch.int32)), "the signs of zeros too"
        if momentum:
            one, other = (optimizer.state[each]["momentum_buffer"] for each, optimizer in pairs)
            assert torch.equal(one.view(torch.int32), other.view(torch.int32))


def test_a_parameter_may_get_its_first_gradient_late() -> None:
    early, late = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = SGD(lr=1.0, momentum=0.5, weight_decay=0.0)([early, late])
    found = []
    for of_late in (None, torch.ones(1), torch.ones(1)):
        early.grad, late.grad = torch.ones(1), of_late
        optimizer.step()
        found.append((early.item(), late.item()))
    assert found == [(-1.0, 0.0), (-2.5, -1.0), (-4.25, -2.5)]


@pytest.mark.parametrize("kept", [{}, {0: {"momentum_buffer": None}}])
def test_a_state_without_momenta_is_taken_back(kept: dict[int, Any]) -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = SGD(lr=1.0, momentum=0.5, weight_decay=0.0)([parameter])
    optimizer.load_state_dict({**optimizer.state_dict(), "state": kept})
    for expected in (-1.0, -2.5):
        parameter.grad = torch.ones(1)
        optimizer.step()
        assert parameter.item() == expected


def test_defaults_are_the_crd_benchmarks() -> None:
    assert SGD().model_dump() == {
        "name": "sgd",
        "lr": 0.05,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 5e-4,
    }


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (OptimizerConfig, {}, SGD()),
        (OptimizerConfig, {"lr": 0.1}, SGD(lr=0.1)),
        (OptimizerConfig, {"name": "sgd", "momentum": 0}, SGD(momentum=0)),
        (OptimizerConfig, "sgd", SGD()),
        (OptimizerConfig, "adam", Adam()),
        (OptimizerConfig, {"name": "adamw", "betas": [0.5, 0.9]}, Adam(name="adamw", betas=(0.5, 0.9))),
        (OptimizerConfig, Adam(name="adamw"), Adam(name="adamw")),
        (ScheduleConfig, {}, Cosine()),
        (ScheduleConfig, {"warmup": 2}, Cosine(warmup=2)),
        (ScheduleConfig, "constant", Constant()),
        (ScheduleConfig, "one_cycle", OneCycle()),
        (ScheduleConfig, {"name": "multistep", "milestones": [1, 2]}, MultiStep(milestones=(1, 2))),
        (ScheduleConfig, OneCycle(warmup=1), OneCycle(warmup=1)),
    ],
)
def test_a_config_says_which_one(kind: Any, value: object, expected: BaseModel) -> None:
    found: Any = TypeAdapter(kind).validate_python(value)
    assert found == expected
    assert isinstance(found, type(expected))
    assert TypeAdapter(kind).validate_python(found.model_dump(mode="json")) == expected


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (SGD, {"lr": 0}),
        (SGD, {"lr": -1}),
        (SGD, {"lr": math.inf}),
        (SGD, {"lr": math.nan}),
        (SGD, {"momentum": 1}),
        (SGD, {"momentum": -0.1}),
        (SGD, {"weight_decay": -1}),
        (SGD, {"nesterov": True, "momentum": 0}),
        (SGD, {"betas": (0.9, 0.99)}),
        (SGD, {"name": "adam"}),
        (Adam, {"betas": (0.9, 1.0)}),
        (Adam, {"betas": (-0.1, 0.9)}),
        (Adam, {"betas": (0.9,)}),
        (Adam, {"momentum": 0.9}),
        (Cosine, {"warmup": -1}),
        (Cosine, {"warmup": math.inf}),
        (MultiStep, {}),
        (MultiStep, {"milestones": [1], "factor": 0}),
        (Constant, {"milestones": [1]}),
    ],
)
def test_settings_that_cannot_be(make: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make(**settings)


class Pair:
    """Two parameters, the first for a main optimizer, the second claimed by another."""

    def __init__(self) -> None:
        self.main = nn.Parameter(torch.linspace(-1, 1, 5))
        self.claimed = nn.Parameter(torch.linspace(2, 3, 4))

    def loss(self) -> Tensor:
        return (self.main.pow(2).sum() - 1).pow(2) + self.claimed.sin().sum()

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [SGD(lr=0.01)([self.main]), Adam(lr=0.1, betas=(0.5, 0.999))([self.claimed])]

    def joint(self) -> JointOptimizer:
        return JointOptimizer(self.optimizers())

    def state(self) -> tuple[list[float], list[float]]:
        return self.main.tolist(), self.claimed.tolist()


def run(pair: Pair, optimizers: list[torch.optim.Optimizer], steps: int = 5) -> None:
    for _ in range(steps):
        pair.loss().backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def test_one_step_is_that_of_every_part_to_the_last_bit() -> None:
    joint, separate = Pair(), Pair()
    before = joint.state()
    run(joint, [joint.joint()])
    run(separate, separate.optimizers())
    assert joint.state() == separate.state()
    assert all(now != then for now, then in zip(joint.state(), before, strict=True))


def test_a_closure_is_called_once_and_its_loss_comes_back() -> None:
    pair, plain = Pair(), Pair()
    optimizer = pair.joint()
    losses = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = pair.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        return loss

    with torch.no_grad():
        returned = optimizer.step(closure)
    run(plain, plain.optimizers(), steps=1)
    assert [returned.item()] == losses
    assert pair.state() == plain.state()
    assert pair.joint().step() is None


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad_clears_every_part(set_to_none: bool) -> None:
    pair = Pair()
    pair.loss().backward()  # type: ignore[no-untyped-call]
    pair.joint().zero_grad(set_to_none)
    for parameter in (pair.main, pair.claimed):
        assert (parameter.grad is None) == set_to_none
        assert parameter.grad is None or parameter.grad.abs().sum() == 0


def test_state_of_every_part_is_saved_and_taken_back() -> None:
    straight = Pair()
    run(straight, [straight.joint()], steps=6)

    stopped = Pair()
    optimizer = stopped.joint()
    run(stopped, [optimizer], steps=3)
    assert set(optimizer.state) == {stopped.main, stopped.claimed}
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed = stopped.joint()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    run(stopped, [resumed], steps=3)
    assert stopped.state() == straight.state()


def test_state_of_another_number_of_parts_is_refused() -> None:
    pair = Pair()
    with pytest.raises(ValueError, match="zip"):
        pair.joint().load_state_dict({"parts": pair.joint().state_dict()["parts"][:1]})


@pytest.mark.parametrize(
    "schedule",
    [
        lambda optimizer: Cosine()(optimizer, 5, 1),
        lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5),
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=10),
    ],
)
def test_a_scheduler_leaves_the_rate_of_the_claimed_part_alone(schedule: Any) -> None:
    joint, separate = Pair(), Pair()
    optimizer = joint.joint()
    scheduler = schedule(optimizer)
    main, claimed = separate.optimizers()
    alone = schedule(main)
    for _ in range(5):
        run(joint, [optimizer], steps=1)
        scheduler.step()
        run(separate, [main, claimed], steps=1)
        alone.step()
    assert joint.state() == separate.state()
    assert optimizer.param_groups[0]["lr"] == main.param_groups[0]["lr"] != 0.01
    assert optimizer.parts[1].param_groups[0]["lr"] == 0.1
    assert optimizer.parts[1].param_groups[0]["betas"] == (0.5, 0.999)


def test_a_gradient_scaler_scales_every_part_and_calls_off_the_whole_step() -> None:
    scaled, plain = Pair(), Pair()
    optimizer = scaled.joint()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for _ in range(3):
        scaler.scale(scaled.loss()).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    run(plain, plain.optimizers(), steps=3)
    assert scaled.state() == plain.state(), "a power of two costs no precision"

    scaler.scale(scaled.loss() + scaled.claimed.sum() * torch.inf).backward()  # type: ignore[no-untyped-call]
    scaler.step(optimizer)
    scaler.update()
    assert scaled.state() == plain.state()
    assert scaler.get_scale() == 2.0**9


def test_torchs_interface() -> None:
    pair = Pair()
    optimizer = pair.joint()
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.defaults["lr"] == 0.01
    learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert learning[0] is pair.main
    assert learning[1] is pair.claimed
    assert "lr: 0.01" in repr(optimizer)
    assert parts_of(optimizer) == optimizer.parts
    assert parts_of(optimizer.parts[0]) == [optimizer.parts[0]]

    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    run(pair, [optimizer], steps=2)
    assert calls == ["before", "after"] * 2


def test_a_group_that_is_added_learns_with_the_main_part() -> None:
    pair, more = Pair(), nn.Parameter(torch.ones(2))
    optimizer = pair.joint()
    optimizer.add_param_group({"params": [more], "lr": 0.5, "momentum": 0.0, "weight_decay": 0.0})
    more.sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert more.tolist() == [0.5, 0.5]
    assert len(optimizer.param_groups) == 3


def matrices() -> list[nn.Parameter]:
    """A matrix and a vector with gradients, always the same."""
    draws = torch.Generator().manual_seed(3)
    found = [nn.Parameter(torch.randn(shape, generator=draws)) for shape in ((4, 3), (5,))]
    for parameter in found:
        parameter.grad = torch.randn(parameter.shape, generator=draws)
    return found


def test_lion_steps_by_the_sign_of_its_momentum() -> None:
    pytest.importorskip("lion_pytorch")
    parameters = matrices()
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = Lion(lr=0.01, betas=(0.9, 0.8), weight_decay=0.5)(parameters)
    momenta = [torch.zeros_like(parameter) for parameter in parameters]
    for _ in range(3):
        optimizer.step()
        for place, parameter in enumerate(parameters):
            assert parameter.grad is not None
            update = (0.9 * momenta[place] + 0.1 * parameter.grad).sign()
            before[place] = before[place] * (1 - 0.01 * 0.5) - 0.01 * update
            momenta[place] = 0.8 * momenta[place] + 0.2 * parameter.grad
            torch.testing.assert_close(parameter.detach(), before[place])


def test_lion_says_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lion_pytorch", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'limbeck\[lion\]'"):
        Lion().ready()


with_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")


@with_muon
def test_muon_makes_the_momentum_of_matrices_orthogonal_and_adamw_takes_the_rest() -> None:
    parameters, others = matrices(), matrices()
    optimizer = Muon(lr=0.02, weight_decay=0.0)(parameters)
    peers = [
        torch.optim.Muon([others[0]], lr=0.02, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([others[1]], lr=0.02, weight_decay=0.0, betas=(0.9, 0.95)),
    ]
    before = parameters[0].detach().clone()
    optimizer.step()
    for peer in peers:
        peer.step()
    assert torch.equal(parameters[0], others[0])
    torch.testing.assert_close(parameters[1], others[1])
    step = (parameters[0].detach() - before) / (-0.02 * 0.2 * 4**0.5)
    values = torch.linalg.svdvals(step)
    assert values.min() > 0.5, "Newton-Schulz brings the singular values near 1"
    assert values.max() < 1.3


def test_muon_of_an_older_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(LimbeckError, match=r"^the optimizer 'muon' needs torch 2.9 or newer, and torch \d"):
        Muon(lr=0.02)(matrices())


@with_muon
def test_a_schedule_drives_muon_and_adamw_alike() -> None:
    optimizer = Muon(lr=0.02)(matrices())
    schedule = Cosine()(optimizer, 1, 4)
    optimizer.step()
    schedule.step()
    assert isinstance(optimizer, JointOptimizer)
    expected = 0.02 * 0.5 * (1 + math.cos(math.pi / 4))
    assert [group["lr"] for part in optimizer.parts for group in part.param_groups] == pytest.approx(
        [expected, expected]
    )


@with_muon
def test_the_parts_of_a_part_are_parts() -> None:
    claimed = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.3)
    muon = Muon(lr=0.02)(matrices())
    joint = JointOptimizer([muon, claimed])
    assert [type(part).__name__ for part in parts_of(joint)] == ["Muon", "AdamW", "SGD"]
    schedule = Cosine()(joint, 1, 4)
    joint.step()
    schedule.step()
    assert claimed.param_groups[0]["lr"] == 0.3
    assert muon.param_groups[1]["lr"] < 0.02
