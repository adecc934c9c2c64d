"""Figure 3: the memory of a training, in a process of its own, and what it costs to fill a cache.

    python benchmarks/speed/memory.py TEACHER DIRECTORY DEVICE BATCH_SIZE

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
from loop import KD, train
from networks import PAIRS, network, noise
from torch import nn

from limbeck import Distiller
from limbeck.data import Loader
from limbeck.teachers import CachedTeacher, LiveTeacher, Teacher
from limbeck.training import Trainer

CLASSES = 100
STEPS = 6


def measure(device: str, batch_size: int, cache: Path) -> dict[str, Any]:
    """Peak bytes of a process that trains without a teacher, with a live and with a cached one."""
    given = [str(cache), device, str(batch_size)]

    def peak(teacher: str) -> dict[str, int]:
        command = [sys.executable, __file__, teacher, *given]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found: dict[str, int] = json.loads(out)
        return found

    peak("cached")  # fills it
    return {"peak": {teacher: peak(teacher) for teacher in ("none", "live", "cached")}}


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
    peak = {"process": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    if device == "cuda":
        peak["device"] = torch.cuda.max_memory_allocated()
    print(json.dumps(peak))


if __name__ == "__main__":
    main()
