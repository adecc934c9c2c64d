"""Figure 3, second half: time and disk to fill the cache of a teacher."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.speed.networks import PAIRS, network
from limbeck import data, models
from limbeck.data import Source
from limbeck.runs.filling import fill
from limbeck.teachers.cache_admin import cache_files

VIEWS = (1, 4, 16)


def measure(
    device: str, batch_size: int, scratch: Path, shared: Path, *, images: int, repetitions: int
) -> dict[str, Any]:
    """Seconds by repetition and bytes on disk, by number of views: the logits of some training images."""
    text, teacher = f"cifar100(train={images}, validation=0)", PAIRS["resnet32x4 -> resnet8x4"][0]
    weights = saved(teacher, data.load(text, shared / "cifar100"), scratch / "filling")
    directory = weights.parent / "teachers"
    settings = {
        "teacher.weights": str(weights),
        "training.device": "auto" if device == "cuda" else device,
    }
    found: dict[int, dict[str, Any]] = {views: {"seconds": [], "bytes": 0} for views in VIEWS}
    for _ in range(repetitions):
        for file in cache_files(directory=directory):
            file.unlink()
        spent = 0.0
        for views in VIEWS:
            with patch.dict("os.environ", LIMBECK_CACHE=str(weights.parent)):
                steps = fill(
                    teacher=teacher,
                    data=text,
                    data_dir=shared / "cifar100",
                    views=views,
                    batch_size=batch_size,
                    settings=settings,
                )
                asking = [(time.perf_counter(), state.asked) for state in steps if state.asked]
            (begun, first), (ended, last) = asking[0], asking[-1]
            spent += (ended - begun) / (last - first) * last  # what comes before the first batch is left out
            disk = sum(file.stat().st_blocks * 512 for file in cache_files(directory=directory))
            found[views]["seconds"].append(spent)
            found[views]["bytes"] = disk
    return {"images": images, "views": found}


def saved(teacher: str, source: Source, directory: Path) -> Path:
    """The file with the first weights of a teacher: it asks for as much time as one that has learned."""
    directory.mkdir(parents=True, exist_ok=True)
    models.save(
        network(teacher, source.example(64), source.task.width), directory / "teacher.safetensors", {}
    )
    return directory / "teacher.safetensors"
