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
from limbeck.training.world import check_world, launched, launched_on_cpu

NO_GPU = pytest.mark.skipif(torch.accelerator.is_available(), reason="is about machines without a GPU")
SCRIPT = """
import json, os, sys, torch, limbeck
torch.manual_seed(0)
x = torch.randn(64, 6)
source = limbeck.data.from_tensors(x, torch.arange(64) % 3, validation=None, test=(x, torch.arange(64) % 3))
sizes = []
student = torch.nn.Linear(6, 3)
student.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0]) * module.training))
run = limbeck.train(
    model=student, data=source, epochs=2, batch_size=16, out=sys.argv[1], display=False,
    settings={"training.trackers": [], "training.precision": "fp32", "training.memory_format": "contiguous"},
)
with open(sys.argv[1] + "-" + os.environ.get("RANK", "alone"), "w") as file:
    json.dump({"largest": max(sizes), "bias": student.bias.tolist()}, file)
"""


@NO_GPU
def test_processes_that_torchrun_started_train_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "go.py").write_text(SCRIPT)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE")}
    package = Path(limbeck.__file__).parents[1]
    environment = {**outside, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "go.py", "two"]
    done = subprocess.run(
        [sys.executable, *launch], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["go.py", "one"])
    runpy.run_path("go.py")
    first, second, alone = (
        json.loads((tmp_path / name).read_text()) for name in ("two-0", "two-1", "one-alone")
    )
    assert (first["largest"], second["largest"], alone["largest"]) == (8, 8, 16)
    assert first["bias"] == second["bias"] == pytest.approx(alone["bias"], abs=1e-6)
    lines = (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


STOPPED = """
import os, signal, sys
from limbeck.training.step import Step

steps = 0
call = Step.__call__

def step(self, *arguments):
    global steps
    call(self, *arguments)
    steps += 1
    if steps == 3 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)

Step.__call__ = step
"""


@NO_GPU
@pytest.mark.slow
def test_what_two_processes_have_begun_one_goes_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the two gets SIGTERM, both stop, and a single process ends with their order and views."""
    (tmp_path / "stopped.py").write_text(STOPPED + SCRIPT.replace("epochs=2", "epochs=40"))
    (tmp_path / "go.py").write_text(SCRIPT.replace("epochs=2", "epochs=40, resume='auto'"))
    environment = {**os.environ, "PYTHONPATH": str(Path(limbeck.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "stopped.py", "two"]
    done = subprocess.run(
        [sys.executable, *launch], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode != 0
    assert "exitcode  : 143" in done.stderr
    state = torch.load(tmp_path / "two" / "checkpoints" / "last.pt")
    assert state["epoch"] < 40
    monkeypatch.chdir(tmp_path)
    found = []
    for folder in ("two", "one"):
        monkeypatch.setattr("sys.argv", ["go.py", folder])
        runpy.run_path("go.py")
        found.append(json.loads((tmp_path / f"{folder}-alone").read_text())["bias"])
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    lines = [(tmp_path / each / "metrics.jsonl").read_text().splitlines() for each in ("two", "one")]
    assert len(lines[0]) == len(lines[1]) == 40
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
