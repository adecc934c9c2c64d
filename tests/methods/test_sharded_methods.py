"""Every method with student and teacher in shares: the gradient of one process, or a refusal by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from method_setting import ALL, SAMPLES, make_setting, objective_of
from test_conformance import batch_of
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.base import inner_first
from limbeck.objective import parse
from limbeck.optimization import SGD
from limbeck.teachers.live import LiveTeacher
from two_processes import as_launched, run_in_two_processes

NAMES = sorted(ALL)
REFUSED = {
    "is a phase before training": (
        *("ab", "around", "fsp", "ft", "infoflow", "kcd", "lwkd", "mgd", "mtpd", "nasty"),
        *("projected", "sskd", "turned"),
    ),
    "makes its own batches": ("bss", "cutmix", "halfway", "mixkd", "mixup", "r2kd"),
    "has a rule for the optimizer": ("dot", "rolewise"),
    "replaces part of the student": ("simkd",),
    "works on a network itself": ("ikd",),
}
"""Methods that are refused, by what the message says of them."""


def gradients(rank: int, world: int, name: str) -> dict[str, Tensor] | str:
    """Of half the batch in each of two processes, whole; or why the method is refused."""
    from limbeck.training.sharded_state import joined
    from limbeck.training.sharding import Sharder

    as_launched(rank, world)
    torch.manual_seed(0)
    setting = make_setting(objective_of(name), norm=False, dtype=torch.float64)
    distiller = setting.distiller(objective_of(name))
    live = all(type(each) is LiveTeacher for each in distiller.teachers.values())
    sharder = Sharder("both" if live else "student", Accelerator(cpu=True), torch.device("cpu"))
    try:
        sharder.check(distiller)
    except LimbeckError as error:
        return str(error)
    share = rank * SAMPLES // world, (rank + 1) * SAMPLES // world
    with sharder.sharded(distiller):
        shares = sharder.shares(distiller, optimizer := distiller.optimizer(SGD()))
        assert shares is not None
        distiller.train()
        shares.begin()
        distiller(batch_of(setting.inputs, setting.targets, *share)).backward()
        shares.take_gradients()
        names = {id(each): key for key, each in distiller.named_parameters()}
        found = {}
        for mine in (each for group in optimizer.param_groups for each in group["params"]):
            of = shares._of.get(mine, mine)
            if mine.grad is not None:
                whole: Any = joined(mine.grad, of)
                found[names[id(of)]] = whole.full_tensor() if of is not mine else whole
    return found


@pytest.fixture(scope="module")
def found() -> dict[str, list[dict[str, Tensor] | str]]:
    pytest.importorskip("torch", "2.7")
    jobs = [(gradients, (name,)) for name in NAMES]
    results = run_in_two_processes(jobs, paths=[Path(__file__).parent, *map(Path, sys.path)])
    return dict(zip(NAMES, results, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_with_shares_give_the_gradient_of_one(
    name: str, found: dict[str, list[dict[str, Tensor] | str]]
) -> None:
    why = next((why for why, names in REFUSED.items() if name in names), None)
    if why is not None:
        for message in found[name]:
            assert isinstance(message, str)
            assert f" {why}, which was not tried with a sharded student; leave it out, or " in message
            named = message.split()[0].partition(".")[0]
            assert named in [part.name for part in inner_first(parse(objective_of(name)))]
        return
    setting = make_setting(objective_of(name), norm=False, dtype=torch.float64)
    distiller = setting.distiller(objective_of(name))
    distiller.train()
    distiller(batch_of(setting.inputs, setting.targets)).backward()
    here = {key: p.grad for key, p in distiller.named_parameters() if p.grad is not None}
    for there in found[name]:
        assert isinstance(there, dict), there
        assert there.keys() == here.keys()
        for key, gradient in here.items():
            torch.testing.assert_close(there[key], gradient, rtol=1e-8, atol=1e-11, msg=key)
