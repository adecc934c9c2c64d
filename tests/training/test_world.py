from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import limbeck
from limbeck.errors import LimbeckError
from limbeck.training import Trainer
from limbeck.training.step import Step
from limbeck.training.world import (
    check_unsharded,
    check_world,
    half_launched,
    launched,
    launched_on_cpu,
    lost,
)

NO_GPU = pytest.mark.skipif(torch.accelerator.is_available(), reason="is about machines without a GPU")
SCRIPT = """
import json, os, sys, torch, limbeck
torch.manual_seed(0)
x = torch.randn(64, 6)
source = limbeck.data.from_tensors(x, torch.arange(64) % 3, validation=None, test=(x, torch.arange(64) % 3))
sizes, measured = [], []

class Student(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.unused = torch.nn.Linear(6, 3), torch.nn.Linear(6, 3)

    def forward(self, x):
        (sizes if self.training else measured).append(len(x))
        return self.layer(x)

student = Student()
run = limbeck.train(
    model=student, data=source, epochs=2, batch_size=16, out=sys.argv[1], display=False,
    settings={"training.trackers": [], "training.precision": "fp32", "training.memory_format": "contiguous"},
)
with open(sys.argv[1] + "-" + os.environ.get("RANK", "alone"), "w") as file:
    json.dump({
        "largest": max(sizes),
        "bias": student.layer.bias.tolist(),
        "top1": run.result.metrics.on("test")["top1"],
        "measured": max(measured),
    }, file)
"""
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
ACCELERATE = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0")


def started(launcher: tuple[str, ...], *script: str, within: Path) -> subprocess.CompletedProcess[str]:
    """What came of two processes of a script."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE")}
    environment = {**outside, "PYTHONPATH": str(Path(limbeck.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *launcher, *script]
    return subprocess.run(command, cwd=within, env=environment, capture_output=True, text=True, timeout=300)


@NO_GPU
@pytest.mark.parametrize("launcher", [TORCHRUN, pytest.param(ACCELERATE, marks=pytest.mark.slow)])
def test_processes_that_are_launched_train_together(
    launcher: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "go.py").write_text(SCRIPT)
    done = started(launcher, "go.py", "two", within=tmp_path)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["go.py", "one"])
    runpy.run_path("go.py")
    first, second, alone = (
        json.loads((tmp_path / name).read_text()) for name in ("two-0", "two-1", "one-alone")
    )
    assert (first["largest"], second["largest"], alone["largest"]) == (8, 8, 16)
    assert first["top1"] == second["top1"] == alone["top1"]
    assert first["measured"] == alone["measured"] == 64, "no sample twice, and none left out"
    assert first["bias"] == second["bias"] == pytest.approx(alone["bias"], abs=1e-6)
    lines = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


STOPPED = """
import json, os, signal, sys, torch, limbeck
from limbeck.training.step import Step

torch.manual_seed(0)
x = torch.rand(48, 1, 6, 6)
source = limbeck.data.from_tensors(x, torch.arange(48) % 3, validation=None, test=(x, torch.arange(48) % 3))
student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3))
out, rank, call = sys.argv[1], os.environ.get("RANK", "alone"), Step.__call__
stopped = {"alone": 0, "SIGTERM": signal.SIGTERM, "SIGKILL": signal.SIGKILL}[sys.argv[2]]

def step(self, number, batch, *rest):
    views = batch.inputs.double().flatten(1).sum(1).tolist()
    with open(f"{out}-order-{rank}", "a") as file:
        file.write(json.dumps([number, views]) + chr(10))
    call(self, number, batch, *rest)
    if stopped and number == 8 and rank == "1":
        os.kill(os.getpid(), stopped)

Step.__call__ = step
run = limbeck.train(
    model=student, data=source, epochs=6, batch_size=16, out=out, resume="auto",
    save_every=2,
    settings={
        "training.trackers": [], "training.precision": "fp32", "training.memory_format": "contiguous",
        "data.views": "crop(padding=2)", "training.views": 3,
    },
)
with open(f"{out}-{rank}", "w") as file:
    json.dump(student[1].weight.tolist(), file)
"""


def order(file: Path) -> dict[int, list[float]]:
    """What each step saw: a number for each view of a sample. A later line replaces an earlier one."""
    return {int(number): views for number, views in map(json.loads, file.read_text().splitlines())}


@NO_GPU
@pytest.mark.slow
@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL"])
def test_what_two_processes_have_begun_one_goes_on_with(
    signal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the two gets a signal, both end, and a single process goes on with their order and views."""
    (tmp_path / "go.py").write_text(STOPPED)
    done = started(TORCHRUN, "go.py", "two", signal, within=tmp_path)
    assert done.returncode != 0
    if signal == "SIGTERM":
        assert "exitcode  : 143" in done.stderr
    else:
        assert "exitcode  : -9" in done.stderr
        assert "another process has ended or does not answer; the last" in done.stderr
    state = torch.load(tmp_path / "two" / "checkpoints" / "last.pt")
    monkeypatch.chdir(tmp_path)
    for folder in ("two", "one"):
        monkeypatch.setattr("sys.argv", ["go.py", folder, "alone"])
        with monkeypatch.context() as patch:
            patch.setattr(Step, "__call__", Step.__call__)  # puts back what the script replaces
            runpy.run_path("go.py")
    alone, resumed = order(tmp_path / "one-order-alone"), order(tmp_path / "two-order-alone")
    first, second = (order(tmp_path / f"two-order-{rank}") for rank in (0, 1))
    assert sorted(alone) == list(range(1, 19))
    assert min(resumed) == 1 + 3 * state["epoch"] + (state["within"] or {"position": 0})["position"] > 3
    for number, views in alone.items():
        if number < min(resumed):
            assert sorted([*first[number], *second[number]]) == sorted(views)
        else:
            assert resumed[number] == views
    weights = [json.loads((tmp_path / f"{each}-alone").read_text()) for each in ("two", "one")]
    torch.testing.assert_close(torch.tensor(weights[0]), torch.tensor(weights[1]), rtol=0, atol=1e-5)
    lines = [(tmp_path / each / "metrics.jsonl").read_text().splitlines() for each in ("two", "one")]
    assert len(lines[0]) == len(lines[1]) == 6
    for one, other in zip(*lines, strict=True):
        assert json.loads(one)["terms"] == pytest.approx(json.loads(other)["terms"], rel=1e-4)


def test_the_launchers_world_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == 1
    assert not launched_on_cpu()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launched() == 2
    assert not launched_on_cpu(), "nothing says which of them this is"
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert launched_on_cpu() != torch.accelerator.is_available()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert not launched_on_cpu()


def test_processes_that_would_train_apart_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    check_world(3)
    with pytest.raises(LimbeckError, match=r"^3 processes were launched together, and accelerate takes"):
        check_world(1)
    monkeypatch.setenv("WORLD_SIZE", "1")
    check_world(1)


def test_accelerates_own_fsdp_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "false")
    check_unsharded()
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(LimbeckError, match=r"^accelerate launch was told to use FSDP, .*training\.sharding"):
        Trainer(device="cpu", display=False)


def test_it_is_said_if_accelerate_has_started_one_process_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert half_launched(1) is None
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert "--multi_gpu --num_processes N" in str(half_launched(1))
    assert half_launched(2) is None
    monkeypatch.setenv("RANK", "0")
    assert half_launched(1) is None


def test_errors_that_say_that_a_process_is_gone() -> None:
    assert lost(RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:1"))
    assert lost(torch.distributed.DistBackendError("NCCL error"))
    assert not lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
