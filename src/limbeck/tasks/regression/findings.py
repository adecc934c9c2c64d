"""What is found out about a network that gives values: the records."""

from __future__ import annotations

from limbeck.tasks.measuring import Findings


class Histogram(Findings):
    """Numbers of residuals in bins of equal width.

    Attributes:
        low: lower end of the first bin.
        high: upper end of the last bin.
        counts: by bin.
        below: residuals below the first bin.
        above: residuals above the last bin.
    """

    low: float
    high: float
    counts: tuple[int, ...]
    below: int
    above: int


class Value(Findings):
    """One value, in its own units.

    Attributes:
        known: samples of which the value is known.
        rmse: root mean squared error.
        mae: mean absolute error.
        r2: share of the targets' variance that the answers explain; None where the targets are constant.
        bias: mean residual, answer less target.
        quantiles: quantiles of the absolute error, by probability.
        residuals: answers less targets.
        points: (target, answer) of some samples, the same ones for every network.
    """

    known: int
    rmse: float
    mae: float
    r2: float | None
    bias: float
    quantiles: dict[float, float]
    residuals: Histogram
    points: tuple[tuple[float, float], ...]


class RegressionFindings(Findings):
    """What is found out about a network that gives values.

    Attributes:
        rmse: root mean squared error; of several values the mean, in standard deviations of the training
            targets.
        mae: mean absolute error in the same units.
        r2: mean over the values; None where all targets are constant.
        values: in the order of the task's names; None where no sample has the value.
    """

    rmse: float
    mae: float
    r2: float | None
    values: tuple[Value | None, ...]
