"""Figure 3, first half: the memory of a training, in a process of its own.

    python -m benchmarks.speed.memory TEACHER DIRECTORY DEVICE BATCH_SIZE

TEACHER is none, live or cached; DIRECTORY is that of the cached teacher's files. Prints peak bytes as JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.speed import ROOT
from benchmarks.speed.loop import KD, train
from benchmarks.speed.networks import PAIRS, network, noise
from limbeck import Distiller
from limbeck.data import Loader
from limbeck.teachers import CachedTeacher, LiveTeacher, Teacher
from limbeck.training import Trainer

CLASSES = 100
STEPS = 6


def measure(device: str, batch_size: int, cache: Path, *, repetitions: int) -> dict[str, Any]:
    """Peak bytes of processes that train without a teacher, with a live and with a cached one."""
    given = [str(cache), device, str(batch_size)]

    def peak(teacher: str) -> dict[str, int]:
        command = [sys.executable, "-m", "benchmarks.speed.memory", teacher, *given]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
        found: dict[str, int] = json.loads(out)
        return found

    peak("cached")  # fills it
    return {
        "peak": {
            teacher: [peak(teacher) for _ in range(repetitions)] for teacher in ("none", "live", "cached")
        }
    }


def main() -> None:
    teacher, directory, device, batch_size = sys.argv[1:]
    source = noise(STEPS * int(batch_size), CLASSES)
    loader = Loader(source.train, int(batch_size), views=source.views, device=device)
    example = source.example()

    def taught(name: str) -> nn.Module:
        return network(name, example, CLASSES).to(device)

    big, small = PAIRS["resnet32x4 -> resnet8x4"]
    asked: Teacher | None = None
    if teacher == "live":
        asked = LiveTeacher(taught(big))
    elif teacher == "cached":
        asked = CachedTeacher(taught(big), source, directory=Path(directory), rebuild=lambda: taught(big))
    student = taught(small)
    distiller = Distiller(student, asked, KD if asked else "ce", example=example, data=loader)
    if isinstance(asked, CachedTeacher):
        asked.release()
    train(Trainer(device=device, display=False), distiller, loader)
    peak = {"process": peak_of_process()}
    if device == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated()
    print(json.dumps(peak))


def peak_of_process() -> int:
    """Bytes. On Linux not by `getrusage`, whose peak a process takes over from the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        facts = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
        return 1024 * int(facts["VmHWM"].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


if __name__ == "__main__":
    main()
