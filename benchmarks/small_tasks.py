"""Tasks that a laptop can train on, with their networks and budgets, which several benchmarks share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limbeck import data
from limbeck.data import Source


@dataclass(frozen=True)
class Task:
    """A data set with its networks and the budget.

    Attributes:
        source: what is learned from, given the folder of data files.
        tried: numbers of epochs that the student alone was tried with, by which `epochs` was picked.
    """

    source: Callable[[Path], Source]
    student: str
    teacher: str
    epochs: int
    lr: float
    seeds: int = 5
    batch_size: int = 64
    weight_decay: float = 5e-4
    teacher_epochs: int = 30
    settings: Mapping[str, Any] = field(default_factory=dict)
    tried: tuple[int, ...] = ()

    def common(self, shared: Path) -> dict[str, Any]:
        """What every run of the task is given, on every machine; `shared` is the folder of data files."""
        return {
            "data": self.source(shared),
            "batch_size": self.batch_size,
            "lr": self.lr,
            "settings": {
                "training.trackers": [],
                **self.settings,
                "training.optimizer.weight_decay": self.weight_decay,
                "training.checkpoint_every": 1000,
                "training.precision": "fp32",
                "training.memory_format": "contiguous",
            },
        }


DIGITS = Task(
    lambda shared: data.load("digits"),
    student="cnn(channels=[4, 8])",
    teacher="cnn(channels=[32, 64], depth=2)",
    epochs=480,
    lr=0.05,
    tried=(60, 120, 240, 480, 960),
)
BREAST_CANCER = Task(
    lambda shared: data.load("breast_cancer"),
    student="mlp(hidden=[8])",
    teacher="mlp(hidden=[64, 64])",
    epochs=150,
    lr=0.05,
    tried=(75, 150, 300, 600),
)
BANKING77 = Task(
    lambda shared: data.load("banking77(max_length=32)", shared / "banking77"),
    student="textcnn(dim=32, channels=32)",
    teacher="textcnn(dim=64, channels=64)",
    epochs=30,
    lr=2e-3,
    weight_decay=1e-2,
    settings={"training.optimizer": {"name": "adamw"}},
    tried=(15, 30, 60),
)
