"""A contender: one way to get a network, with its runs over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from limbeck import tasks
from limbeck.errors import LimbeckError
from limbeck.evaluation.results import Evaluation
from limbeck.runs.result import Result
from limbeck.studies.measures import Measure
from limbeck.tasks import Task

History: TypeAlias = Sequence[Mapping[str, Any]]
"""The lines of a run's `metrics.jsonl`, oldest first."""


@dataclass(frozen=True)
class Contender:
    """One way to get a network, run with one or several seeds.

    Attributes:
        name: for the reader: "student distilled".
        results: the `result.json` of each run; no seed comes twice.
        histories: the `metrics.jsonl` lines of the same runs in the same order.
        ms_per_sample: measured latency of the network, if it was.
        evaluations: the `evaluation.json` of the runs that have one.
    """

    name: str
    results: Sequence[Result]
    histories: Sequence[History]
    ms_per_sample: float | None = None
    evaluations: Sequence[Evaluation] = ()

    def __post_init__(self) -> None:
        if not self.results or len(self.results) != len(self.histories):
            raise LimbeckError(
                f"{self.name!r} needs a history for each result, and one at least: "
                f"it has {len(self.results)} results and {len(self.histories)} histories"
            )
        if len({result.seed for result in self.results}) < len(self.results):
            raise LimbeckError(f"{self.name!r} has two runs with one seed; each seed counts once")

    @cached_property
    def task(self) -> Task:
        """What its networks are for."""
        return tasks.from_record(self.results[0].task)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its runs, in their order."""
        return tuple(result.seed for result in self.results)

    def values(self, measure: Measure) -> dict[int, float]:
        """What was measured by seed, in the unit that it is shown in; empty without it."""
        found = {result.seed: measure.of(result) for result in self.results}
        return {seed: value for seed, value in found.items() if value is not None}

    @property
    def steps(self) -> dict[int, int]:
        """Optimizer steps of the student by seed, those of the phases before not counted, where known."""
        known = {}
        for result, history in zip(self.results, self.histories, strict=True):
            logged = [line["step"] for line in history if line["phase"] == "training"]
            steps = logged[-1] if result.steps is None and logged else result.steps
            if steps is not None:
                known[result.seed] = int(steps)
        return known


def common_task(contenders: Sequence[Contender]) -> Task:
    """The task that all contenders have.

    Raises:
        LimbeckError: naming two that have different ones; their metrics cannot be compared.
    """
    first = contenders[0]
    for other in contenders:
        if other.task.metrics != first.task.metrics:
            raise LimbeckError(
                f"{first.name!r} is a run of the task {first.task.name} and {other.name!r} one of "
                f"{other.task.name}; compare runs of one task"
            )
    return first.task


def unequal(ours: Contender, theirs: Contender) -> bool:
    """Whether two contenders took different numbers of steps with a seed that both have."""
    return any(ours.steps[seed] != theirs.steps[seed] for seed in ours.steps.keys() & theirs.steps)
