"""Loops that people write themselves, which a gradient rule must serve like the trainer's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from method_setting import Setting, make_setting

import limbeck
from limbeck import Distiller

Loop = Callable[[Distiller, torch.optim.Optimizer], None]


def setting_() -> Setting:
    return make_setting(norm=False, dtype=torch.float64)


def prepared(setting: Setting, objective: str) -> Distiller:
    distiller = setting.distiller(objective)
    limbeck.prepare(distiller, [(setting.inputs, setting.targets)], display=False, device="cpu")
    return distiller


def accumulated(distiller: Distiller, optimizer: torch.optim.Optimizer) -> None:
    setting = setting_()
    for part, share in ((slice(0, 5), 5 / 16), (slice(5, 16), 11 / 16)):
        distiller(setting.inputs[part], setting.targets[part]).backward(share)
    optimizer.step()
    optimizer.zero_grad()


def scaled(distiller: Distiller, optimizer: torch.optim.Optimizer) -> None:
    """As a gradient scaler does it."""
    setting = setting_()
    distiller(setting.inputs, setting.targets).backward(1024.0)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad.div_(1024)
    optimizer.step()
    optimizer.zero_grad()


def by_closure(distiller: Distiller, optimizer: torch.optim.Optimizer) -> None:
    setting = setting_()

    def closure() -> float:
        optimizer.zero_grad()
        losses = distiller(setting.inputs, setting.targets)
        losses.backward()
        return float(losses.total.item())

    with torch.no_grad():
        assert optimizer.step(closure) > 0
