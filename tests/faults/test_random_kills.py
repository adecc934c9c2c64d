from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def killed(folder: Path, method: str, kills: int) -> dict[str, Any]:
    """What the script says, in a process of its own, which forks."""
    paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    script = [
        sys.executable,
        str(HERE / "killing.py"),
        str(folder),
        "--method",
        method,
        "--kills",
        str(kills),
    ]
    done = subprocess.run(
        script,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "method",
    [
        "kd, cached",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "ce",
                "icd",
                "mgd(fitnet)",
                "lwkd",
                "crd",
                "on_policy",
                "minillm",
                "okd",
                "dgkd, two teachers",
            )
        ),
    ],
)
def test_a_run_that_is_killed_at_random_moments_ends_as_the_undisturbed_one(
    method: str, tmp_path: Path
) -> None:
    if method in ("on_policy", "minillm", "okd"):
        pytest.importorskip("transformers", reason="transformers is not installed")
    found = killed(tmp_path, method, kills=5)
    assert found["kills"] == 5
    assert found["different"] == []
