"""Figure 3, second half: time and disk to fill the cache of a teacher."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from networks import PAIRS, network

from limbeck import data, models
from limbeck.runs.filling import fill
from limbeck.teachers.listing import cache_files

VIEWS = (1, 4, 16)


def measure(device: str, batch_size: int, scratch: Path, shared: Path, *, images: int) -> dict[str, Any]:
    """Seconds and bytes on disk by number of views, of the logits of a part of the training images."""
    text, teacher = f"cifar100(train={images}, validation=0)", PAIRS["resnet32x4 -> resnet8x4"][0]
    source = data.load(text, shared / "cifar100")
    weights = scratch / "filling" / "teacher.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    models.save(network(teacher, source.example(64), source.num_classes), weights, {})
    directory = weights.parent / "teachers"
    for file in cache_files(directory=directory):
        file.unlink()
    found: dict[int, dict[str, float]] = {}
    spent = 0.0
    for views in VIEWS:
        with patch.dict("os.environ", LIMBECK_CACHE=str(weights.parent)):
            steps = fill(
                teacher=teacher,
                data=text,
                data_dir=shared / "cifar100",
                views=views,
                batch_size=batch_size,
                settings={
                    "teacher.weights": str(weights),
                    "training.device": "auto" if device == "cuda" else device,
                },
            )
            states = [(time.perf_counter(), state) for state in steps]
        asking = [(when, state.asked) for when, state in states if state.asked]
        (begun, first), (ended, last) = asking[0], asking[-1]
        spent += (ended - begun) / (last - first) * last  # what comes before the first batch is left out
        disk = sum(file.stat().st_blocks * 512 for file in cache_files(directory=directory))
        found[views] = {"seconds": spent, "bytes": disk}
    return {"images": images, "views": found}
