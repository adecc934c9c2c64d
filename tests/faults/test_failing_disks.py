"""A disk that gets full or read-only in mid-run, and a run's directory that is removed, lose no run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ALONE = ["unshare", "--user", "--map-root-user", "--mount"]


@cache
def mountable() -> bool:
    """Whether a process may mount a disk that only it sees."""
    try:
        script = "mount -t tmpfs -o size=1m tmpfs /mnt"
        return subprocess.run([*ALONE, "sh", "-c", script], capture_output=True).returncode == 0
    except OSError:
        return False


def failed(fate: str, disk: Path) -> tuple[dict[str, Any], str]:
    """What was found of a run whose disk failed, and what it said."""
    if not mountable():
        pytest.skip("a process may not mount a disk of its own here")
    script = [sys.executable, str(Path(__file__).with_name("failing_disk.py")), str(disk), fate]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*ALONE, *script], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("fate", "why"), [("full", "there is no room"), ("read-only", "Read-only file")])
def test_a_disk_that_takes_no_more_stops_no_training(fate: str, why: str, tmp_path: Path) -> None:
    found, said = failed(fate, tmp_path)
    assert found["epochs"] == [1, 2, 3, 4]
    assert said.count("last.pt' cannot be written") == 1
    assert why in said
    assert "training goes on without it" in said
    assert "cannot be written" in found["error"]
    assert not any(Path(name).name.startswith(".") for name in found["broken"] if name != ".lock")
    assert not {"student.safetensors", "result.json"} & set(found["broken"])
    assert found["checkpoint"] == [0, 1], "the last that could be written, whole"
    assert found["resumed"][0] == 2
    assert found["resumed"][-1] == 4
    assert found["same"]
    assert found["missing"] == []


@pytest.mark.slow
def test_a_directory_that_is_removed_in_mid_run_is_made_again(tmp_path: Path) -> None:
    found, said = failed("removed", tmp_path)
    assert found["epochs"] == [1, 2, 3, 4]
    assert "run' was removed in the meantime and is made again" in said
    assert found["error"] is None
    assert found["lines"] == 4
    assert found["resumed"] == []
    assert found["same"]
    assert found["missing"] == []
