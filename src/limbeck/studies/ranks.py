"""Contenders ranked over tasks, with the difference of ranks that is more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from limbeck.errors import LimbeckError


@dataclass(frozen=True)
class Ranks:
    """Mean ranks over tasks.

    Attributes:
        mean: mean rank by contender, 1 being the best of each task; best first.
        tasks: number of tasks.
        p: of Friedman's test that all contenders are alike; None for two contenders.
        critical: two contenders whose mean ranks differ by less are not told apart (Nemenyi).
    """

    mean: dict[str, float]
    tasks: int
    p: float | None
    critical: float


def ranks(
    values: Mapping[str, Mapping[str, float]], *, higher: bool = True, confidence: float = 0.95
) -> Ranks:
    """Ranks contenders over tasks: Friedman's test and Nemenyi's critical difference (Demšar, JMLR 7, 2006).

        CD = q sqrt(k (k + 1) / (6 N))

    for k contenders on N tasks, with q the quantile of the studentized range over sqrt(2).

    Args:
        values: a value of each contender by task; equal values share the mean of their ranks.
        higher: whether a larger value is better.
        confidence: of the critical difference, in (0, 1).
    Raises:
        LimbeckError: for fewer than two tasks or contenders, and for a task that lacks a contender.
    """
    names = list(dict.fromkeys(name for task in values.values() for name in task))
    if len(values) < 2 or len(names) < 2:
        raise LimbeckError(
            f"ranks take two tasks and two contenders or more, not {len(values)} and {len(names)}"
        )
    for task, there in values.items():
        if missing := [name for name in names if name not in there]:
            raise LimbeckError(
                f"{missing[0]!r} has no value on {task!r}; ranks take one of each on each task"
            )
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    sign = -1 if higher else 1
    by_task = [rankdata([sign * task[name] for name in names]) for task in values.values()]
    mean = {name: fmean(float(row[n]) for row in by_task) for n, name in enumerate(names)}
    count, k = len(values), len(names)
    q = float(studentized_range.ppf(confidence, k, float("inf"))) / 2**0.5
    p = float(friedmanchisquare(*zip(*by_task, strict=True)).pvalue) if k > 2 else None
    ordered = dict(sorted(mean.items(), key=lambda item: item[1]))
    return Ranks(ordered, count, p, q * (k * (k + 1) / (6 * count)) ** 0.5)
