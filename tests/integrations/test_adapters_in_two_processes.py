"""Both adapters in two processes end with the weights of one, which sees the same batches whole."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from method_setting import make_setting
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from limbeck.outputs import UNLABELED
from plain_loop import EVERYTHING, loader_of, plain_loop, prepared
from two_processes import run_in_two_processes

pytest.importorskip("lightning", reason="lightning is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

OBJECTIVES = ("0.5*ce + 0.5*kd", EVERYTHING)


def as_launched(rank: int, world: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"GROUP_RANK": "0", "LOCAL_WORLD_SIZE": str(world), "TORCHELASTIC_RUN_ID": "tests"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # not used: the group is there already


def trained(objective: str, **settings: Any) -> dict[str, Tensor]:
    from test_transformers import sentences, trainer_in

    labels = [UNLABELED if number % 3 else number % 5 for number in range(16)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_in(Path(folder), objective, data=sentences(labels), **settings)
        trainer.train()
        state: dict[str, Tensor] = trainer.distiller.state_dict()
        return state


def in_transformers(rank: int, world: int, objective: str, accumulation: int) -> dict[str, Tensor]:
    from accelerate.state import AcceleratorState

    as_launched(rank, world)
    AcceleratorState._reset_state(reset_partial_state=True)
    return trained(
        objective,
        ddp_backend="gloo",
        per_device_train_batch_size=4 // accumulation,
        gradient_accumulation_steps=accumulation,
    )


def in_lightning(rank: int, world: int, objective: str) -> dict[str, Tensor]:
    from test_lightning import module_of, trainer_in

    as_launched(rank, world)
    setting = make_setting(norm=False)
    distiller = setting.distiller(objective)
    data = TensorDataset(setting.inputs, setting.targets)
    loader = DataLoader(data, batch_size=2, sampler=DistributedSampler(data, world, rank, shuffle=False))
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_in(Path(folder), devices=world, strategy="ddp", use_distributed_sampler=False)
        assert trainer.world_size == world
        trainer.fit(module_of(distiller), loader)
    return distiller.state_dict()


@pytest.fixture(scope="module")
def two() -> list[list[dict[str, Tensor]]]:
    return run_in_two_processes(
        [
            (in_transformers, (OBJECTIVES[0], 1)),
            (in_transformers, (OBJECTIVES[0], 2)),
            (in_transformers, (OBJECTIVES[1], 1)),
            (in_lightning, (OBJECTIVES[0],)),
            (in_lightning, (OBJECTIVES[1],)),
        ],
        paths=[Path(__file__).parent, *map(Path, sys.path)],
    )


def assert_alike(states: list[dict[str, Tensor]], expected: dict[str, Tensor]) -> None:
    first, second = states
    for name, tensor in expected.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.usefixtures("own_accelerate")
@pytest.mark.parametrize(("job", "objective"), [(0, OBJECTIVES[0]), (1, OBJECTIVES[0]), (2, OBJECTIVES[1])])
def test_transformers(job: int, objective: str, two: list[list[dict[str, Tensor]]]) -> None:
    assert_alike(two[job], trained(objective, per_device_train_batch_size=8))


@pytest.mark.parametrize(("job", "objective"), [(3, OBJECTIVES[0]), (4, OBJECTIVES[1])])
def test_lightning(job: int, objective: str, two: list[list[dict[str, Tensor]]]) -> None:
    setting = make_setting(norm=False)
    expected = prepared(setting, objective, loader_of(setting), precision="fp32")
    plain_loop(expected, loader_of(setting))
    assert_alike(two[job], expected.state_dict())
