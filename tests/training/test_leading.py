"""What the first process does alone may take longer than the group's timeout, and may fail."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import limbeck
from run_locks import locked

pytestmark = pytest.mark.skipif(torch.accelerator.is_available(), reason="is about machines without a GPU")

LED = """
import os, signal, sys, time
from datetime import timedelta
import torch.distributed as dist
from accelerate import Accelerator
from limbeck.errors import FirstFailedError, LimbeckError
from limbeck.training.world import led

dist.init_process_group("gloo", timeout=timedelta(seconds=4))
accelerator = Accelerator(cpu=True)
first = accelerator.is_main_process

with led(accelerator):
    if first:
        time.sleep(6)
        print("over", time.monotonic())
print("on", time.monotonic())

for error, code in [
    (LimbeckError("a lock is held"), 2), (OSError(28, "No space left on device"), 1),
    (KeyboardInterrupt(), 130), (SystemExit(143), 143), (SystemExit("why"), 1),
]:
    try:
        with led(accelerator):
            if first:
                raise error
    except BaseException as found:
        expected = found is error if first else type(found) is FirstFailedError and found.exit_code == code
        print(type(error).__name__, expected)

def stop(*_):
    raise InterruptedError

if sys.argv[1] == "killed":
    with led(accelerator):
        if first:
            os.kill(os.getpid(), signal.SIGKILL)
elif sys.argv[1] == "signaled":
    signal.signal(signal.SIGALRM, stop)
    try:
        with led(accelerator):
            if first:
                time.sleep(8)
            else:
                signal.alarm(1)
    finally:
        print("ended", time.monotonic())
"""
WHOLE = """
import sys, time
from datetime import timedelta
import torch, torch.distributed as dist
import limbeck
from limbeck.runs import making
from limbeck.runs.beside import Beside

dist.init_process_group("gloo", timeout=timedelta(seconds=5))
slowly = lambda work: lambda *given: (time.sleep(7), work(*given))[1]
making.conclude, Beside._write = slowly(making.conclude), slowly(Beside._write)
torch.manual_seed(0)
x, y = torch.randn(64, 6), torch.arange(64) % 3
limbeck.distill(
    student=torch.nn.Linear(6, 3), teacher=torch.nn.Linear(6, 3), objective="kd", epochs=1, batch_size=32,
    data=limbeck.data.from_tensors(x, y, validation=None, test=(x[:3], y[:3])),
    out=sys.argv[1], display=False, baseline=sys.argv[2],
    settings={
        "training.trackers": [], "training.precision": "fp32", "training.memory_format": "contiguous",
        "teacher.trust": True,
    },
)
"""


def two(*command: str, within: Path) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of two processes, of which no launcher ends one for the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE")}
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"PYTHONPATH": str(Path(limbeck.__file__).parents[1])}
    processes = [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=within,
            env={**outside, **shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        said = [process.communicate(timeout=100) for process in processes]
    finally:
        for process in processes:
            process.kill()
    # Torch 2.8 and 2.9 write whom gloo has found.
    said = [
        ("".join(line for line in out.splitlines(True) if "peer ranks" not in line), err) for out, err in said
    ]
    return [(process.returncode, *each) for process, each in zip(processes, said, strict=True)]


def times(output: str) -> dict[str, float]:
    return {line.split()[0]: float(line.split()[1]) for line in output.splitlines() if line[-1].isdigit()}


def test_the_others_wait_for_the_first_and_hear_of_its_errors(tmp_path: Path) -> None:
    (tmp_path / "go.py").write_text(LED)
    (killed, first, _), (code, other, errors) = two("go.py", "killed", within=tmp_path)
    assert times(first)["over"] < times(other)["on"]
    names = ["LimbeckError", "OSError", "KeyboardInterrupt", "SystemExit", "SystemExit"]
    for output in (first, other):
        assert [line for line in output.splitlines() if line[-1] == "e"] == [f"{name} True" for name in names]
    assert (killed, code) == (-9, 1)
    assert "LimbeckError: another process has ended or does not answer; the same command with" in errors


@pytest.mark.slow
def test_a_process_that_waits_heeds_signals(tmp_path: Path) -> None:
    (tmp_path / "go.py").write_text(LED)
    (_, first, errors), (code, other, _) = two("go.py", "signaled", within=tmp_path)
    assert code == 1
    assert times(other)["ended"] < times(first)["ended"] - 4
    assert "LimbeckError: another process has ended or does not answer" in errors


@pytest.mark.slow
def test_a_run_waits_for_what_its_first_process_does_alone(tmp_path: Path) -> None:
    (tmp_path / "go.py").write_text(WHOLE)
    began = time.monotonic()
    for code, _, errors in two("go.py", "run", "auto", within=tmp_path):
        assert code == 0, errors
    assert time.monotonic() - began > 21
    assert limbeck.Run(tmp_path / "run").result.baseline is not None


def test_a_lock_that_is_held_ends_the_other_processes_quietly(tmp_path: Path) -> None:
    settings = ["training.trackers=[]", "training.precision=fp32", "training.memory_format=contiguous"]
    command = ["-m", "limbeck", "train", "--model", "cnn(channels=[2])", "--data", "digits(labeled=50)"]
    command += ["--epochs", "1", "--out", "run", *(part for each in settings for part in ("--set", each))]
    with locked(tmp_path / "run"):
        (code, _, first), (other, output, errors) = two(*command, within=tmp_path)
    assert (code, other) == (2, 2)
    assert "limbeck: another process is writing to the run 'run' at this moment" in first
    assert "Traceback" not in first
    assert (output, errors) == ("", "")
