"""A Distiller in loops that limbeck did not write: they end with the weights of the plain loop."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from method_setting import CLASSES, Setting, make_setting
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from limbeck import Distiller
from limbeck.methods import Losses
from plain_loop import EPOCHS, EVERYTHING, SGD, assert_same, loader_of, plain_loop, prepared
from two_processes import run_in_two_processes

# Plain PyTorch


def test_a_plain_loop_learns() -> None:
    setting = make_setting()
    inputs = 0.2 * setting.inputs + setting.targets[:, None, None, None] / CLASSES  # a class is a brightness
    batches = [(inputs, setting.targets)]
    plain_loop(Distiller(setting.teacher, example=inputs), batches, epochs=100)
    distiller = setting.distiller("0.1*ce + 0.9*kd(temperature=4)")
    totals = plain_loop(distiller, batches, epochs=100)
    assert totals[-1] < 0.05 * totals[0]
    answers = [network.eval()(inputs).argmax(1) for network in (distiller.student, setting.teacher)]
    assert torch.equal(*answers)
    assert torch.equal(answers[0], setting.targets)


def test_a_plain_loop_hides_nothing() -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller("0.1*ce + 0.9*kd(temperature=4)")
    plain_loop(distiller, [(setting.inputs, setting.targets)], epochs=5)

    student, teacher = setting.student.train(), setting.teacher.eval()
    optimizer = SGD(student.parameters())
    soft = (teacher(setting.inputs).detach() / 4).softmax(1)
    for _ in range(5):
        logits = student(setting.inputs)
        log_ratio = soft.log() - (logits / 4).log_softmax(1)
        loss = F.cross_entropy(logits, setting.targets) * 0.1 + (soft * log_ratio).sum(1).mean() * 16 * 0.9
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    theirs = distiller.student.state_dict()
    for name, tensor in student.state_dict().items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("own_accelerate")
def test_phases_keep_their_precision_where_accelerate_has_another() -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    setting = make_setting()
    expected = prepared(setting, "ce + projected")
    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(cpu=True, mixed_precision="bf16")
    assert_same(prepared(setting, "ce + projected"), expected)


def test_phases_leave_another_accelerator_s_accumulation(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator
    from accelerate.state import GradientState

    monkeypatch.setattr(GradientState(), "plugin_kwargs", {})
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
    prepared(make_setting(), "ce + projected")
    assert accelerator.gradient_accumulation_steps == 4


# accelerate and DistributedDataParallel, in two processes


def halves(setting: Setting, rank: int, world: int) -> list[tuple[Tensor, Tensor]]:
    """This process's part of each batch of 8."""
    return [
        (inputs.chunk(world)[rank], targets.chunk(world)[rank]) for inputs, targets in loader_of(setting, 8)
    ]


def ddp_loop(rank: int, world: int, objective: str, unused: bool) -> dict[str, Tensor]:
    setting = make_setting(norm=False, dtype=torch.float64)
    distiller = prepared(setting, objective)
    wrapped = DistributedDataParallel(distiller, find_unused_parameters=unused)
    optimizer = distiller.optimizer(SGD)
    for _ in range(EPOCHS):
        for inputs, targets in halves(setting, rank, world):
            wrapped(inputs, targets).backward()
            optimizer.step()
            optimizer.zero_grad()
    return distiller.state_dict()


def accelerate_loop(rank: int, world: int, precision: str) -> dict[str, Tensor]:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # not used: the group is there already
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    assert accelerator.num_processes == world
    setting = make_setting(norm=False)
    distiller = prepared(setting, EVERYTHING)
    dtypes = set()
    distiller.student.register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    model, optimizer = accelerator.prepare(distiller, distiller.optimizer(SGD))
    assert isinstance(model, DistributedDataParallel)
    for _ in range(EPOCHS):
        for inputs, targets in halves(setting, rank, world):
            losses = model(inputs, targets)
            assert isinstance(losses, Losses)
            assert {value.dtype for value in losses.values()} == {torch.float32}
            accelerator.backward(losses.total)
            optimizer.step()
            optimizer.zero_grad()
    assert dtypes == {torch.bfloat16 if precision == "bf16" else torch.float32}
    return distiller.state_dict()


DDP = {"ce + kd": False, "ce + kd + 0.1*adversarial": False, "projected": True}
PRECISIONS = ("no", "bf16")


@pytest.fixture(scope="module")
def two() -> dict[str, list[dict[str, Tensor]]]:
    """What the loops end with, in each of two processes."""
    jobs: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        *((ddp_loop, (objective, unused)) for objective, unused in DDP.items()),
        *((accelerate_loop, (precision,)) for precision in PRECISIONS),
    ]
    results = run_in_two_processes(jobs, paths=[Path(__file__).parent, *map(Path, sys.path)])
    return dict(zip([*DDP, *PRECISIONS], results, strict=True))


@pytest.mark.parametrize("objective", DDP)
def test_under_distributed_data_parallel(objective: str, two: dict[str, list[dict[str, Tensor]]]) -> None:
    setting = make_setting(norm=False, dtype=torch.float64)
    expected = prepared(setting, objective)
    before = copy.deepcopy(expected.student.state_dict())
    plain_loop(expected, loader_of(setting, 8))
    assert any(not torch.equal(t, before[name]) for name, t in expected.student.state_dict().items())
    for state in two[objective]:
        assert state.keys() == expected.state_dict().keys()
        for name, tensor in expected.state_dict().items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_prepared_by_accelerate(precision: str, two: dict[str, list[dict[str, Tensor]]]) -> None:
    setting = make_setting(norm=False)
    expected = prepared(setting, EVERYTHING)
    plain_loop(expected, loader_of(setting, 8), bfloat16=precision == "bf16")
    first, second = two[precision]
    tolerance = 2e-2 if precision == "bf16" else 1e-4
    for name, tensor in expected.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor, rtol=tolerance, atol=tolerance / 100, msg=name)
