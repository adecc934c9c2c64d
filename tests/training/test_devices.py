from __future__ import annotations

import pytest
import torch

from limbeck.errors import LimbeckError
from limbeck.training.devices import device_for, own_device

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def two_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.mark.parametrize(
    ("asked", "found", "device"),
    [
        ("auto", CPU, "cpu"),
        ("cpu", CPU, "cpu"),
        ("auto", CUDA, "cuda:0"),
        ("cpu", CUDA, "cpu"),
        ("cuda", CUDA, "cuda:0"),
        ("cuda:0", CUDA, "cuda:0"),
        ("cuda:1", CUDA, "cuda:1"),
    ],
)
@pytest.mark.usefixtures("two_there")
def test_the_device_that_is_meant(asked: str, found: torch.device, device: str) -> None:
    assert device_for(asked, found) == torch.device(device)


@pytest.mark.parametrize(
    ("asked", "found", "processes", "message"),
    [
        (
            "cuda:2",
            CUDA,
            1,
            "device='cuda:2' is not available here, where there is cuda:0 to cuda:1; or say auto",
        ),
        ("cuda:0", CPU, 1, "device='cuda:0' is not available here, where there is cpu; or say auto"),
        ("mps", CUDA, 1, "device='mps' is not available here, where there is cpu and cuda:0; or say auto"),
        ("gpu", CUDA, 1, "unknown device 'gpu'; did you mean 'cpu'?"),
        (
            "cpu",
            CUDA,
            2,
            "the processes were launched on cuda; for the CPU, launch them with CUDA_VISIBLE_DEVICES set to "
            "nothing",
        ),
        ("cuda", CPU, 2, "device='cuda' is not what the processes were launched on, cpu; say auto"),
        (
            "cuda:1",
            CUDA,
            2,
            "device='cuda:1' names one device, and 2 processes train together, each on one of its own; leave "
            "out the index, cuda, or say auto",
        ),
    ],
)
@pytest.mark.usefixtures("two_there")
def test_one_that_is_not_there_is_refused(
    asked: str, found: torch.device, processes: int, message: str
) -> None:
    with pytest.raises(LimbeckError) as error:
        device_for(asked, found, processes)
    assert str(error.value) == message


def test_before_there_is_a_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert own_device("auto") == CPU
    with pytest.raises(LimbeckError, match="where there is cpu"):
        own_device("cuda:1")
