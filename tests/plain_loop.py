"""The plain loop that all others are compared with."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from method_setting import Setting
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

import limbeck
from limbeck import Distiller
from limbeck.outputs import Inputs

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
EVERYTHING = "ce + kd + 0.5*projected + 0.1*adversarial"  # phases, parts of its own, an optimizer of its own
EPOCHS = 2


def prepared(setting: Setting, objective: str, batches: Iterable[object] = (), **settings: Any) -> Distiller:
    """The setting's distiller with its phases done, on all samples at once unless batches are given."""
    distiller = setting.distiller(objective)
    batches = batches or [(setting.inputs, setting.targets)]
    limbeck.prepare(distiller, batches, display=False, device="cpu", **settings)
    return distiller


def loader_of(setting: Setting, size: int = 4) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(setting.inputs, setting.targets), batch_size=size)


def plain_loop(
    distiller: Distiller,
    batches: Iterable[tuple[Inputs, Tensor]],
    *,
    epochs: int = EPOCHS,
    halve: bool = False,
    bfloat16: bool = False,
) -> list[float]:
    """The loop of the README, with what the other loops may do besides: halve the rate, run in bfloat16."""
    optimizer = distiller.optimizer(SGD)
    schedule = StepLR(optimizer, step_size=1, gamma=0.5) if halve else None
    totals = []
    for _ in range(epochs):
        for inputs, targets in batches:
            with torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext():
                losses = distiller(inputs, targets)
            losses.backward()
            optimizer.step()
            optimizer.zero_grad()
            totals.append(losses.total.item())
        if schedule:
            schedule.step()
    return totals


def assert_same(first: nn.Module, second: nn.Module) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
