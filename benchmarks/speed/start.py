"""Figure 4: from the command to the first step."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import limbeck
from benchmarks.speed import ROOT
from benchmarks.speed.contest import alternate

COMMANDS = {
    "train": ["train", "--model", "cnn(channels=[4, 8])", "--data", "digits"],
    "distill": [
        *("distill", "--student", "cnn(channels=[4, 8])", "--teacher", "{teacher}", "--data", "digits"),
        *("--baseline", "none"),
    ],
}


def measure(scratch: Path, *, repetitions: int) -> dict[str, Any]:
    """Seconds from the start of the process to the end of the first optimizer step."""
    teacher = scratch / "start-teacher"
    limbeck.train(
        model="cnn(channels=[8, 16])", data="digits", epochs=1, out=teacher, overwrite=True, display=False
    )

    def first_step(command: list[str]) -> float:
        given = [part.format(teacher=teacher) for part in command]
        given += ["--epochs", "1", "--out", str(scratch / "start"), "--overwrite"]
        begun = time.time()
        process = subprocess.run(
            [sys.executable, "-m", "benchmarks.speed.first_step", *given],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        return float(process.stdout.split()[-1]) - begun

    turns = {name: lambda command=command: first_step(command) for name, command in COMMANDS.items()}
    alternate(turns, 1)  # the files are in memory from here on
    return {"seconds": alternate(turns, repetitions)}
