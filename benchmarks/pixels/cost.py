"""What a method costs: the time of a step beside one of the student alone, and memory."""

from __future__ import annotations

import copy
import statistics
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import limbeck
from benchmarks.speed.memory import peak_of_process
from limbeck import Distiller, models
from limbeck.data import Loader, Source
from limbeck.optimization import SGD
from limbeck.outputs import Batch

if TYPE_CHECKING:
    from benchmarks.pixels.contest import Contest

REPETITIONS, STEPS = 7, 4


class Side:
    """A student that takes steps.

    Args:
        source: what it learns from.
        contest: the networks.
        objective: in the notation.
        teacher: the teacher; None if the objective reads none.
    """

    def __init__(self, source: Source, contest: Contest, objective: str, teacher: nn.Module | None) -> None:
        loader = Loader(source.train, contest.batch_size, views=source.views, seed=0)
        self.batches: list[Batch] = [batch for batch, _ in zip(loader, range(STEPS), strict=False)]
        torch.manual_seed(0)
        student = models.build(contest.student, example=source.example(), num_classes=source.task.width)
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


def cost(source: Source, contest: Contest, objective: str, teacher: nn.Module | None) -> dict[str, Any]:
    """The median time of a step over that of the student alone, in turns, and what else is trained."""
    alone = Side(source, contest, contest.contenders["alone"], None)
    side = Side(source, contest, objective, teacher)
    pairs = [(alone.turn(), side.turn()) for _ in range(REPETITIONS + 1)][1:]  # the first warms up
    return {
        "step_over_alone": round(statistics.median(theirs / ours for ours, theirs in pairs), 2),
        "step": statistics.median(theirs for _, theirs in pairs) / len(side.batches),
        "parameters": sum(p.numel() for p in side.distiller.objective.parameters() if p.requires_grad),
    }


def peak(source: Source, contest: Contest, objective: str, teacher: nn.Module | None) -> int:
    """Peak bytes of this process, after a few steps."""
    Side(source, contest, objective, teacher).turn()
    return peak_of_process()
