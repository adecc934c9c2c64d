"""What the benchmarks of limbeck have measured, as data: `make evidence` writes evidence.json from them."""

from __future__ import annotations

import json
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from limbeck.data.kinds import Kind
from limbeck.objective import parse, resolved
from limbeck.studies.statistics import PairedDifference

Labels = Literal["all", "some", "none", "noisy"]
"""Which training samples have a label: all, some, none; or all, of which some are wrong."""

How = Literal["", "assistant", "twin", "friendly", "schedule"]
"""How a teacher teaches: as it is; by an assistant between the networks; as a network like the student that
learned alone; trained for its student; as a schedule of its checkpoints."""

FEW = 1000
"""Training samples below which there are few."""


class _Measured(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    setting: str
    objective: str
    how: How = ""


class Finding(_Measured):
    """What an objective gave in a benchmark, beside the student alone on the same seeds.

    Attributes:
        benchmark: folder below benchmarks/.
        setting: data and student, for people.
        objective: in the notation.
        how: how its teacher teaches.
        task: name of the task.
        kind: of the inputs.
        labels: which training samples have one.
        samples: number of training samples; None where there is no such number.
        metric: what was measured on the test split.
        unit: of the metric; empty if it has none.
        higher: whether a larger value is better.
        value: mean over the seeds.
        alone: the same of the student alone.
        pairs: number of seeds that both were run with.
        difference: mean over them of `value` minus `alone`.
        interval: 95 % Student-t interval of the difference; None from one seed.
    """

    task: str
    kind: Kind
    labels: Labels
    samples: int | None
    metric: str
    unit: str = ""
    higher: bool = True
    value: float
    alone: float
    pairs: int
    difference: float
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> Literal["better", "worse", "undecided"]:
        """What the interval says; undecided from fewer seeds than allow a verdict, too."""
        side = PairedDifference(self.pairs, self.difference, self.interval).verdict
        if side in (None, "undecided"):
            return "undecided"
        return "better" if (side == "higher") == self.higher else "worse"

    def __str__(self) -> str:
        interval = (
            "" if self.interval is None else ", 95 % interval {:+.2f} to {:+.2f}".format(*self.interval)
        )
        seeds = "1 seed, which gives no interval" if self.pairs == 1 else f"{self.pairs} seeds"
        points = " points" if self.unit == "%" else f" {self.unit}".rstrip()
        return (
            f"{self.difference:+.2f}{points} of {self.metric} against the student alone ({seeds}{interval}) "
            f"on {self.setting}"
        )


class Cost(_Measured):
    """What a training step costs.

    Attributes:
        teacher: whether its answers were read from a cache.
        ratio: time of a step over that of the student alone.
    """

    teacher: Literal["live", "cached"]
    ratio: float


class Evidence(BaseModel):
    """All of it, in the order of the benchmarks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    findings: tuple[Finding, ...]
    costs: tuple[Cost, ...]

    def of(self, objective: str, how: How = "") -> tuple[Finding, ...]:
        """What was measured of an objective, whichever way it is written."""
        wanted = same(objective)
        return tuple(each for each in self.findings if each.how == how and same(each.objective) == wanted)

    def costs_of(self, objective: str, how: How = "") -> tuple[Cost, ...]:
        """What a step of it cost."""
        wanted = same(objective)
        return tuple(each for each in self.costs if each.how == how and same(each.objective) == wanted)


@lru_cache
def evidence() -> Evidence:
    """What ships with limbeck."""
    return Evidence.model_validate_json(
        resources.files("limbeck.advice").joinpath("evidence.json").read_text("utf-8")
    )


@cache
def same(objective: str) -> str:
    """A text that is equal for objectives that mean the same: every argument written out, 4 as 4.0."""
    return json.dumps(_plain(resolved(parse(objective))), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value) if type(value) is int else value
