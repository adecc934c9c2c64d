"""What a method costs: the time of a step beside one of the student alone, and memory."""

from __future__ import annotations

import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

import limbeck
from benchmarks.speed.memory import peak_of_process
from limbeck import Distiller, models
from limbeck.data import Loader, Source
from limbeck.optimization import SGD
from limbeck.outputs import Batch

ROOT = Path(__file__).parents[2]
REPETITIONS, STEPS = 7, 4

Teacher = nn.Module | Mapping[str, nn.Module] | None
"""One teacher, several by name, or none."""


class Budget(Protocol):
    """What the learners share.

    Attributes:
        student: a network, in the notation.
        batch_size: of a step.
    """

    @property
    def student(self) -> str: ...
    @property
    def batch_size(self) -> int: ...


class Side:
    """A student that takes steps.

    Args:
        source: what it learns from.
        budget: the network and the size of a batch.
        objective: in the notation.
        teacher: what it learns from; None if the objective reads no teacher.
    """

    def __init__(self, source: Source, budget: Budget, objective: str, teacher: Teacher) -> None:
        loader = Loader(source.train, budget.batch_size, views=source.views, seed=0)
        self.batches: list[Batch] = [batch for batch, _ in zip(loader, range(STEPS), strict=False)]
        torch.manual_seed(0)
        student = models.build(budget.student, example=source.example(), num_classes=source.task.width)
        self.distiller = Distiller(
            student,
            copy.deepcopy(teacher),
            objective,
            example=source.example(),
            data=loader,
            task=source.task,
        )
        limbeck.prepare(self.distiller, self.batches, display=False, device="cpu")
        self.optimizer = self.distiller.train().optimizer(SGD())

    def turn(self) -> float:
        """Seconds of a few steps."""
        started = time.perf_counter()
        for step, batch in enumerate(self.batches):
            self.distiller.progress(step, 0, 0.5)
            self.distiller(batch).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        return time.perf_counter() - started


def cost(source: Source, budget: Budget, alone: str, objective: str, teacher: Teacher) -> dict[str, Any]:
    """The median time of a step over that of the student alone, in turns, and what else is trained."""
    first = Side(source, budget, alone, None)
    side = Side(source, budget, objective, teacher)
    pairs = [(first.turn(), side.turn()) for _ in range(REPETITIONS + 1)][1:]  # the first warms up
    return {
        "step_over_alone": round(statistics.median(theirs / ours for ours, theirs in pairs), 2),
        "step": statistics.median(theirs for _, theirs in pairs) / len(side.batches),
        "parameters": sum(p.numel() for p in side.distiller.objective.parameters() if p.requires_grad),
    }


def peak(source: Source, budget: Budget, objective: str, teacher: Teacher) -> int:
    """Peak bytes of this process, after a few steps."""
    Side(source, budget, objective, teacher).turn()
    return peak_of_process()


def peak_apart(module: str, contender: str, runs: Path, shared: Path, *, tiny: bool) -> int:
    """Peak bytes of a process of its own, in which a benchmark takes a few steps of a contender.

    Args:
        module: of this folder, whose `--peak` prints it.
        contender: by name.
        runs: where the runs go.
        shared: the folder of data files.
        tiny: whether the benchmark is a try.
    """
    command = [sys.executable, "-m", f"benchmarks.pixels.{module}", "--peak", contender]
    command += ["--runs", str(runs), "--shared", str(shared), *(["--tiny"] if tiny else [])]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout)
