"""What several seeds say: a mean with its spread, and paired differences with a Student-t interval."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from limbeck.errors import LimbeckError

MIN_PAIRS = 5
"""No verdict from fewer pairs: the interval of two or three seeds is an accident of those seeds."""


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (n - 1) of `n` values; one value has no deviation."""

    mean: float
    sd: float | None
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + ("" if self.sd is None else f" ± {self.sd:.2f}")


def summarize(values: Sequence[float]) -> Summary:
    """Mean and spread of at least one value."""
    if not values:
        raise LimbeckError("a mean needs at least one value, and there is none")
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Summary(statistics.fmean(values), sd, len(values))


@dataclass(frozen=True)
class PairedDifference:
    """Mean of treatment minus baseline over `pairs` seeds, in the unit of the values.

    Attributes:
        pairs: seeds that both sides have.
        mean: mean difference; above 0 where the treatment's values are the larger ones.
        interval: Student-t interval of the mean difference; None from a single pair.
        p: of the two-sided paired t test that the mean is 0; None from a single pair.
        effect: Cohen's d of paired values, the mean over the standard deviation of the differences; None from
            a single pair and where all differences are equal.
    """

    pairs: int
    mean: float
    interval: tuple[float, float] | None
    p: float | None = None
    effect: float | None = None

    def __str__(self) -> str:
        interval = "" if self.interval is None else " ({:+.2f} to {:+.2f})".format(*self.interval)
        return f"{self.mean:+.2f}{interval}"

    @property
    def verdict(self) -> Literal["higher", "lower", "undecided"] | None:
        """On which side of 0 the whole interval lies; None below `MIN_PAIRS` pairs."""
        if self.interval is None or self.pairs < MIN_PAIRS:
            return None
        low, high = self.interval
        return "higher" if low > 0 else "lower" if high < 0 else "undecided"


def paired_difference(
    treatment: Mapping[int, float], baseline: Mapping[int, float], confidence: float = 0.95
) -> PairedDifference:
    """Compares two contenders seed by seed, over the seeds that both ran.

    Args:
        treatment: a value by seed.
        baseline: the same of what it is compared with.
        confidence: coverage of the interval, in (0, 1).
    Raises:
        LimbeckError: no seed is in both.
    """
    seeds = sorted(treatment.keys() & baseline.keys())
    if not seeds:
        raise LimbeckError(f"no seed is in both: {sorted(treatment)} and {sorted(baseline)}")
    summary = summarize([treatment[seed] - baseline[seed] for seed in seeds])
    if summary.sd is None:
        return PairedDifference(1, summary.mean, None)
    from scipy.stats import t  # here: 0.7 s to import

    error = summary.sd / summary.n**0.5
    half = float(t.ppf((1 + confidence) / 2, summary.n - 1)) * error
    p = 2 * float(t.sf(abs(summary.mean) / error, summary.n - 1)) if error else float(summary.mean == 0)
    effect = summary.mean / summary.sd if summary.sd else None
    return PairedDifference(summary.n, summary.mean, (summary.mean - half, summary.mean + half), p, effect)


def check_paired(
    treatment: Mapping[int, float], baseline: Mapping[int, float], names: tuple[str, str]
) -> None:
    """Refuses two contenders that were not run with the same seeds.

    Args:
        treatment: a value by seed.
        baseline: the same of what it is compared with.
        names: of the two.
    Raises:
        LimbeckError: naming the seeds that one of them lacks.
    """
    for ours, theirs, (name, other) in (
        (treatment, baseline, names),
        (baseline, treatment, names[::-1]),
    ):
        if missing := sorted(theirs.keys() - ours.keys()):
            seeds = f"seed{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing))}"
            raise LimbeckError(
                f"the seeds are not paired: {name!r} was not run with {seeds}, and {other!r} was; run what "
                "is missing, or compare over the seeds that both have (--partial)"
            )


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """The p-values of several tests, corrected so that all rejections together err with the stated share.

    Holm's step-down procedure (Scandinavian Journal of Statistics 6, 1979): the k-th smallest of m is
    multiplied by m - k + 1, and none is below one before it or above 1.

    Args:
        p: a p-value in [0, 1] for each test.
    Returns: the corrected ones, in the order given.
    """
    corrected, least = {}, 0.0
    for place, name in enumerate(sorted(p, key=lambda name: p[name])):
        least = max(least, min(1.0, (len(p) - place) * p[name]))
        corrected[name] = least
    return {name: corrected[name] for name in p}
