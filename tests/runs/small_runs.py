"""Runs small enough to make by the dozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import limbeck
from limbeck import data
from limbeck.data import Source
from limbeck.runs import Run
from limbeck.runs.job import Job, prepare
from limbeck.runs.result import Result

torch.set_num_threads(1)

TEACHER, STUDENT = "mlp(hidden=[16])", "mlp(hidden=[6])"
QUICK: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 250,
    "settings": {"training.trackers": []},
    "display": False,
}


def make_teacher(folder: Path, **changes: Any) -> Run:
    """A run of a teacher on the digits."""
    return limbeck.train(**{"model": TEACHER, "out": folder, **QUICK, "batch_size": 50, **changes})


def make_student(out: Path, teacher: Any, **changes: Any) -> Run:
    """A run of a student on the digits."""
    return limbeck.distill(**{"student": STUDENT, "teacher": teacher, "out": out, **QUICK, **changes})


def three_classes(*, test: bool = True, labeled: int = 60, name: str = "triples") -> Source:
    """60 random rows of 4 features, of which the first ones have a label."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.rand(60, 4, generator=generator), torch.arange(60) % 3
    targets[labeled:] = -100
    held = (torch.rand(12, 4, generator=generator), torch.arange(12) % 3)
    return data.from_tensors(
        inputs, targets, validation=held, test=held if test else None, num_classes=3, name=name
    )


def state_of(run: Run) -> dict[str, Tensor]:
    """The weights that the run wrote."""
    return limbeck.models.load_state(run.path / "student.safetensors")


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two states are equal bit by bit."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of a history without how long they took."""
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def without_times(result: Result) -> Result:
    """A record without how long the training took."""
    return result.model_copy(update={"seconds": 0.0})


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def catch_job(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Collects the jobs that runs prepare."""
    jobs: list[Job] = []

    def caught(*arguments: Any) -> Job:
        jobs.append(prepare(*arguments))
        return jobs[-1]

    monkeypatch.setattr("limbeck.runs.making.prepare", caught)
    return jobs


def plain_network(width: int = 4, classes: int = 3) -> nn.Module:
    """A network of the user's own, for rows of 4 features; always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(width)
        return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, classes))
