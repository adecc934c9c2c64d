"""What the cache and fewer views cost in accuracy: small students on a part of CIFAR-100."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import limbeck
from benchmarks.speed.loop import KD
from limbeck.runs import Run
from limbeck.studies.grid import Grid

CONTENDERS: Mapping[str, Mapping[str, Any]] = {
    "live, 162 views": {},
    "cached, 162 views": {"teacher.cache": "logits"},
    "cached, 16 views": {"teacher.cache": "logits", "training.views": 16},
    "cached, 4 views": {"teacher.cache": "logits", "training.views": 4},
}
STUDENT, TEACHER = "cnn(channels=[8, 16, 32])", "cnn(channels=[32, 64, 128])"
SEEDS = range(3)


def measure(runs: Path, shared: Path, *, images: int, epochs: int, teacher_epochs: int) -> dict[str, Any]:
    """Final accuracy and epochs' losses by contender and seed; a run that is finished is not repeated."""
    common: dict[str, Any] = {
        "data": f"cifar100(train={images}, validation=0)",
        "data_dir": shared / "cifar100",
        "batch_size": 32,
    }
    quiet = {"training.trackers": [], "training.checkpoint_every": 1000}
    # Runs of other settings stay where they are and are not taken for these.
    decides = [common["data"], STUDENT, TEACHER, epochs, teacher_epochs, quiet]
    runs /= hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:8]
    teacher = Run(runs / "teacher")
    if not teacher.finished:
        limbeck.train(
            model=TEACHER,
            epochs=teacher_epochs,
            out=teacher.path,
            overwrite=True,
            display=False,
            settings=quiet,
            **common,
        )
    found: dict[str, Any] = {}
    for name, settings in CONTENDERS.items():
        given = {"epochs": epochs, "settings": {**quiet, **settings}, **common}
        grid = Grid(runs, {name: KD}, SEEDS, STUDENT, teacher, given)
        by_seed = {seed: run for _, seed, run in grid.run()}
        precision = by_seed[SEEDS[0]].result.choices["precision"]
        found[name] = {
            "top1": {seed: 100 * run.result.metrics.on("test")["top1"] for seed, run in by_seed.items()},
            "losses": {
                seed: [line["terms"]["total"] for line in run.history] for seed, run in by_seed.items()
            },
        }
        print(f"{name}: {found[name]['top1']}", flush=True)
    return {
        "data": common["data"],
        "student": STUDENT,
        "teacher": {"model": TEACHER, "top1": 100 * teacher.result.metrics.on("test")["top1"]},
        "epochs": epochs,
        "precision": precision,
        "contenders": found,
    }


def largest_difference(
    one: Mapping[str, list[float]], other: Mapping[str, list[float]], epochs: int
) -> float:
    """The largest relative difference of two runs' losses in their first epochs, over all seeds."""
    return max(
        abs(ours - theirs) / theirs
        for seed, losses in one.items()
        for ours, theirs in zip(losses[:epochs], other[seed][:epochs], strict=True)
    )
