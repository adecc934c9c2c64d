"""One run of 240 epochs from the command to its end, on a GPU."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.speed import epochs
from benchmarks.speed.filling import saved
from benchmarks.speed.loop import KD
from benchmarks.speed.networks import PAIRS
from limbeck import data

VIEWS = 16


def measure(
    device: str, batch_size: int, scratch: Path, shared: Path, *, images: int, epochs: int = epochs.EPOCHS
) -> dict[str, Any]:
    """Seconds of `limbeck distill` with an empty cache, evaluation included, in a process of its own."""
    pair = "resnet32x4 -> resnet8x4"
    text, (teacher, student) = f"cifar100(train={images}, validation=0)", PAIRS[pair]
    weights = saved(teacher, data.load(text, shared / "cifar100"), scratch / "whole")
    given = {
        "--student": student,
        "--teacher": teacher,
        "--set": f"teacher.weights={weights}",
        "--data": text,
        "--data-dir": shared / "cifar100",
        "--objective": KD,
        "--epochs": epochs,
        "--batch-size": batch_size,
        "--cache-teacher": "logits",
        "--views": VIEWS,
        "--baseline": "none",
        "--out": scratch / "whole" / "run",
    }
    command = [sys.executable, "-m", "limbeck", "distill", "--overwrite"]
    command += ["--set", f"training.device={'auto' if device == 'cuda' else device}"]
    command += [str(part) for option in given.items() for part in option]
    begun = time.perf_counter()
    subprocess.run(command, check=True)
    return {"pair": pair, "images": images, "epochs": epochs, "seconds": time.perf_counter() - begun}
