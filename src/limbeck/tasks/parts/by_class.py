"""What reports of tasks with classes have in common: shares in percent, and a figure by class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from limbeck.tasks.sections import Bars

BARS = 20
"""Classes of a figure; of more, the lowest."""


def percent(share: float | None) -> str | None:
    """A share in percent with one digit; None for None."""
    return None if share is None else f"{100 * share:.1f}"


def lowest_by_class(
    label: str, names: Sequence[str], found: Mapping[str, Sequence[Sequence[float | None]]]
) -> Bars:
    """A metric by class, means over the seeds, of the classes with the lowest.

    Args:
        label: short name of the metric, such as "IoU".
        names: names of the classes.
        found: by the name of the network and seed, the share of each class; None where it does not occur.
    """
    scores = {
        name: [_mean([each[at] for each in seeds]) for at in range(len(names))]
        for name, seeds in found.items()
    }
    known = {
        at: fmean(values)
        for at in range(len(names))
        if (values := [its[at] for its in scores.values() if not math.isnan(its[at])])
    }
    worst = sorted(known, key=lambda at: known[at])[:BARS]
    which = f" The {len(worst)} lowest of {len(known)}." if len(worst) < len(known) else ""
    return Bars(
        f"{label} by class",
        f"{label} (%)",
        [names[at] for at in worst],
        {name: [its[at] for at in worst] for name, its in scores.items()},
        kind="points",
        notes=f"Means over the seeds, the lowest first.{which}",
    )


def _mean(shares: Sequence[float | None]) -> float:
    known = [100 * share for share in shares if share is not None]
    return fmean(known) if known else math.nan
