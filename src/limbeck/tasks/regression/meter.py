"""Measures networks that give values: one alone, and a student beside its teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import Batch, Outputs
from limbeck.tasks.measuring import Agreement, Comparison, Example, Meter
from limbeck.tasks.parts.moments import Moments
from limbeck.tasks.parts.scores import BOUND, Scores
from limbeck.tasks.parts.worst import Worst
from limbeck.tasks.regression.findings import Histogram, RegressionFindings, Value

BINS = 40
"""Bins of a histogram of residuals."""

INSIDE = 0.99
"""Share of the residuals that the bins hold."""

QUANTILES = (0.5, 0.9, 0.95, 0.99)
"""Probabilities for which the quantile of the absolute error is told."""

POINTS = 1000
"""Samples that are kept to be drawn, over all values that are drawn."""

DRAWN = 8
"""Values that are drawn, the first ones."""


class RegressionMeter(Meter):
    """Measures one network on the values that are known.

    The metrics are computed from sums over all values. Histograms and quantiles are of all samples while
    their numbers fit in the bound, and of a seeded sample of them beyond it.

    Args:
        std: the standard deviation of each value, which brings several to one scale.
        quick: compute the metrics only.
        bound: numbers to keep (see `Scores`).
    """

    def __init__(self, std: Sequence[float], *, quick: bool = False, bound: int = BOUND) -> None:
        self._std = torch.tensor(std, dtype=torch.float64)
        self._kept = None if quick else Scores(bound)
        self._moments: Moments | None = None
        self._samples = 0

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes in answers (B, K) and targets (B, K)."""
        self._samples += len(batch)
        if batch.targets is None:
            return
        answers, targets = outputs.logits.cpu(), batch.targets.cpu()
        labeled = (~targets.isnan()).any(1)
        answers, targets = answers[labeled], targets[labeled]
        if not len(targets):
            return
        moments = Moments.of(answers, targets)
        self._moments = moments if self._moments is None else self._moments + moments
        if self._kept is not None:
            self._kept.add(answers, targets)

    def compute(self) -> dict[str, float]:
        """`rmse` and `mae`, in the units of the value if there is one and otherwise standardized; `r2`."""
        found = self._measured()
        scale = self._std if len(self._std) > 1 else 1
        known = found.count > 0
        each = {
            "rmse": (found.rmse / scale)[known],
            "mae": (found.mae / scale)[known],
            "r2": found.r2[found.varies],
        }
        return {name: float(values.mean()) for name, values in each.items() if len(values)}

    def findings(self) -> RegressionFindings:
        """All there is to say; see `limbeck.tasks.Task.measure`."""
        found, metrics = self._measured(), self.compute()
        assert self._kept is not None
        answers, targets = self._kept.read()
        values = [
            self._value(found, place, answers[:, place], targets[:, place])
            if found.count[place] > 0
            else None
            for place in range(len(self._std))
        ]
        return RegressionFindings(
            rmse=metrics["rmse"], mae=metrics["mae"], r2=metrics.get("r2"), values=tuple(values)
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was measured on a sample of the rows."""
        if self._kept is None:
            return ()
        held = len(self._kept.read()[0])
        if self._kept.complete:
            return ()
        return (
            f"Histograms and quantiles are of a random sample of {held:,} of the {self._kept.rows:,} "
            "samples with targets.",
        )

    def _measured(self) -> Moments:
        if self._moments is None:
            raise LimbeckError(f"none of the {self._samples} samples has a target, and errors need targets")
        return self._moments

    def _value(self, found: Moments, place: int, answers: Tensor, targets: Tensor) -> Value:
        known = ~targets.isnan()
        answers, targets = answers[known].double(), targets[known].double()
        error = answers - targets
        levels = torch.tensor(QUANTILES, dtype=torch.float64)
        drawn = POINTS // min(DRAWN, len(self._std)) if place < DRAWN else 0
        places = torch.linspace(0, len(targets) - 1, min(drawn, len(targets))).round().long()
        return Value(
            known=int(found.count[place]),
            rmse=float(found.rmse[place]),
            mae=float(found.mae[place]),
            r2=float(found.r2[place]) if found.varies[place] else None,
            bias=float(found.bias[place]),
            quantiles=dict(zip(QUANTILES, quantile(error.abs(), levels), strict=True)),
            residuals=histogram(error),
            points=tuple(zip(targets[places].tolist(), answers[places].tolist(), strict=True)),
        )


class RegressionComparison(Comparison):
    """Measures how far a student's values are from its teacher's.

    Args:
        names: names of the values.
        standardized: brings values (B, K) to standard deviations of the training targets.
    """

    def __init__(self, names: Sequence[str], standardized: Callable[[Tensor], Tensor]) -> None:
        self._names, self._standardized = names, standardized
        self._worst = Worst()
        self._samples = self._values = 0
        self._distance = 0.0

    def update(self, student: Outputs, teacher: Outputs, batch: Batch) -> None:
        """Takes in values (B, K) of both, and targets (B, K) if there are any."""
        mine, its = student.logits.double().cpu(), teacher.logits.double().cpu()
        self._distance += float((self._standardized(mine) - self._standardized(its)).square().sum())
        self._values += mine.numel()
        if batch.targets is not None and batch.targets.shape[1]:
            targets = batch.targets.double().cpu()
            ours, theirs = (self._error(values, targets) for values in (mine, its))

            def example(place: int, first: int = self._samples) -> Example:
                said = (self._said(values[place].tolist()) for values in (targets, mine, its))
                target, student, teacher = said
                return Example(index=first + place, target=target, student=student, teacher=teacher)

            self._worst.add(ours, theirs < ours, example)
        self._samples += len(batch)

    def compute(self) -> Agreement:
        """The root of the mean squared distance in standard deviations, and the worst samples."""
        return Agreement(
            agreement=None, distance=(self._distance / self._values) ** 0.5, examples=self._worst.examples
        )

    def _error(self, values: Tensor, targets: Tensor) -> Tensor:
        """(B,) mean squared error of the known values of each sample, standardized."""
        known = ~targets.isnan()
        error = (self._standardized(values) - self._standardized(targets)).where(known, 0)
        return error.square().sum(1) / known.sum(1).clamp(min=1)

    def _said(self, values: Iterable[float]) -> str:
        texts = [f"{value:.4g}" if value == value else "unknown" for value in values]
        if len(texts) == 1:
            return texts[0]
        return ", ".join(f"{name} {text}" for name, text in zip(self._names, texts, strict=True))


def quantile(values: Tensor, levels: Tensor) -> list[float]:
    """The smallest values that are not below a share `levels` (Q,) of `values` (N,)."""
    places = (levels * len(values) - 1e-9).ceil().long() - 1
    found: list[float] = values.sort().values[places.clamp(min=0)].tolist()
    return found


def histogram(values: Tensor) -> Histogram:
    """Numbers of `values` (N,) float64 in `BINS` bins of equal width that hold the share `INSIDE` of them."""
    finite = values[values.isfinite()]
    ends = torch.tensor([(1 - INSIDE) / 2, (1 + INSIDE) / 2], dtype=torch.float64)
    low, high = quantile(finite, ends) if len(finite) else (0.0, 0.0)
    if low == high:
        low, high = low - 0.5, low + 0.5
    counts = finite.histc(BINS, low, high)
    return Histogram(
        low=low,
        high=high,
        counts=tuple(counts.long().tolist()),
        below=int((values < low).sum()),
        above=int((values > high).sum()),
    )
