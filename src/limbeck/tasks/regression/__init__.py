"""Regression: numbers for each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks.base import Task
from limbeck.tasks.measuring import Agreement, Findings, Meter, Metric
from limbeck.tasks.regression.findings import RegressionFindings
from limbeck.tasks.regression.meter import RegressionComparison, RegressionMeter
from limbeck.tasks.regression.sections import sections, weaknesses
from limbeck.tasks.rows import Rows
from limbeck.tasks.sections import Section
from limbeck.tasks.targets import as_tensor, columns_of, same_size

STRATA = 10
"""Ranges of the first value from which a draw takes a like share each; fewer where they would be small."""


@dataclass(frozen=True)
class Regression(Task):
    """Targets are (N, K) floats, NaN where a value is not known; one row is one sample.

    A network answers in the units of the targets. Losses see rows, in which every value is standardized by
    the training split: (y - mean) / std, so that values of different units count alike and learning rates
    mean the same everywhere. Targets (N, 0) say that no value of any sample is known.

    Args:
        names: one for each value, at least 1.
        mean: mean of each value over the training split.
        std: standard deviation of each value over the training split; 1 for a constant.
    """

    name = "regression"
    columns_hold: ClassVar[Literal["classes", "labels", "values", "tags"]] = "values"
    scores: ClassVar[Literal["classes", "values"]] = "values"
    distance: ClassVar[str] = "RMSE between student and teacher in standard deviations of the targets"
    findings = RegressionFindings
    metrics = (
        Metric("rmse", "RMSE", higher=False),
        Metric("mae", "MAE", higher=False),
        Metric("r2", "R²", hub="r_squared"),
    )

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise LimbeckError("there should be at least 1 value")
        if not len(self.names) == len(self.mean) == len(self.std):
            raise LimbeckError(
                f"there are {len(self.names)} names, {len(self.mean)} means and {len(self.std)} standard "
                "deviations; each value should have one of each"
            )
        if not all(std > 0 for std in self.std):
            raise LimbeckError(f"the standard deviations should be positive, not {self.std}")

    @classmethod
    def of(cls, names: Sequence[str] | None, width: int | None, targets: Tensor) -> Regression:
        """The task with the names given, or with numbers for as many values as the targets have columns.

        Mean and standard deviation are those of the known values; 0 and 1 where none is known.

        Raises:
            LimbeckError: if names, width and columns differ, or none of them is known.
        """
        given = columns_of(names, width, targets, "value")
        if not targets.shape[1]:
            targets = targets.new_full((len(targets), len(given)), torch.nan)
        known = ~targets.isnan()
        count = known.sum(0).clamp(min=1)
        mean = targets.double().where(known, 0).sum(0) / count
        std = ((targets.double() - mean).where(known, 0).square().sum(0) / count).sqrt()
        std = std.where(std > 1e-12 * mean.abs(), 1)  # of a constant, what is left is rounding
        return cls(given, tuple(mean.tolist()), tuple(std.tolist()))

    @classmethod
    def of_width(cls, width: int) -> Regression:
        """The task of so many values that are not scaled, with numbers for names."""
        return cls(tuple(map(str, range(width))), (0.0,) * width, (1.0,) * width)

    @property
    def summary(self) -> str:
        """For example "3 values"."""
        return f"{self.width} value{'s' if self.width > 1 else ''}"

    @property
    def identity(self) -> str:
        """With mean and standard deviation, which scale the losses."""
        return f"{self.name} {self.width} {self.mean} {self.std}"

    @classmethod
    def as_targets(cls, targets: Any, size: int, which: str) -> Tensor:
        """(N, K) float32; (N, 0) for None."""
        if targets is None:
            return torch.empty(size, 0)
        given = as_tensor(targets, which, "numbers, (N,) or (N, K)")
        if given.ndim not in (1, 2) or given.is_complex() or given.dtype == torch.bool:
            raise LimbeckError(
                f"the {which} targets should be numbers, (N,) or (N, K), not {given.dtype} of shape "
                f"{tuple(given.shape)}"
            )
        same_size(given, size, which)
        values = given.reshape(size, -1).float()
        wrong = ~values.isfinite()
        if wrong.any():
            sample, column = wrong.nonzero()[0].tolist()
            raise LimbeckError(
                f"the {which} target of sample {sample}, value {column}, is {values[sample, column]:g}, not "
                "a finite number; leave the sample out, or give targets=None if no sample has any"
            )
        return values

    def check(self, targets: Tensor, which: str) -> None:
        """Refuses another number of values, and infinite ones."""
        if targets.shape[1] not in (0, self.width):
            raise LimbeckError(f"the {which} targets have {targets.shape[1]} values, not {self.width}")
        wrong = targets.isinf()
        if wrong.any():
            sample, column = wrong.nonzero()[0].tolist()
            raise LimbeckError(
                f"the {which} target of sample {sample}, value {self.names[column]!r}, is "
                f"{targets[sample, column]:g}, not a finite number"
            )

    def check_batch(self, targets: Tensor, size: int) -> None:
        """Refuses anything but (B, K) floats, or (B, 0)."""
        if not targets.is_floating_point() or targets.shape not in ((size, self.width), (size, 0)):
            raise LimbeckError(
                f"the targets of a batch of {size} must be floats of shape ({size}, {self.width}), "
                f"not {str(targets.dtype).removeprefix('torch.')} of shape {tuple(targets.shape)}"
                + ("; use targets.unsqueeze(-1)" if targets.ndim == 1 and self.width == 1 else "")
            )

    def check_outputs(self, logits: Tensor, role: str) -> None:
        """Refuses anything but (B, K)."""
        if logits.ndim != 2 or logits.shape[1] != self.width:
            raise LimbeckError(
                f"the outputs of the {role} have the shape {tuple(logits.shape)}, and regression takes one "
                f"number for each value, (B, {self.width})"
                + ("; end the network with .unsqueeze(-1)" if logits.ndim == 1 and self.width == 1 else "")
            )

    @classmethod
    def labeled(cls, targets: Tensor) -> Tensor:
        """Which samples have a value that is known."""
        return (~targets.isnan()).any(1)

    @classmethod
    def strata(cls, targets: Tensor) -> Tensor:
        """Up to 10 ranges of the first value with as many samples each, at least 10, by rank.

        Samples of which only other values are known are one more stratum.
        """
        strata = torch.full((len(targets),), UNLABELED, device=targets.device)
        if not targets.shape[1]:
            return strata
        first = targets[:, 0]
        known = (~first.isnan()).nonzero().flatten()
        parts = min(STRATA, max(1, len(known) // 10))
        order = known[first[known].argsort(stable=True)]
        strata[order] = torch.arange(len(order), device=targets.device) * parts // max(1, len(order))
        others = cls.labeled(targets) & first.isnan()
        return strata.where(~others, parts)

    def counts(self, targets: Tensor) -> tuple[int, ...]:
        """Samples of which each value is known."""
        return tuple((~targets.isnan()).sum(0).tolist()) or (0,) * self.width

    def standardized(self, values: Tensor) -> Tensor:
        """Values (..., K) in standard deviations from the mean of the training split, in float32 at least."""
        dtype = torch.promote_types(values.dtype, torch.float32)
        mean, std = (
            torch.tensor(numbers, dtype=dtype).to(values.device, non_blocking=True)
            for numbers in (self.mean, self.std)
        )
        return (values.to(dtype) - mean) / std

    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        """The samples, with outputs and targets standardized.

        A head that a method puts on an embedding answers in standardized units, so `decisions` changes
        nothing.
        """
        targets = batch.targets
        if targets is not None:
            known = targets if targets.shape[1] else targets.new_full((len(targets), self.width), torch.nan)
            targets = self.standardized(known)
        return Rows(len(batch), targets, logits=self.standardized)

    def meter(self, *, quick: bool = False) -> RegressionMeter:
        """Sums up errors; unless quick, keeps answers for histograms and quantiles."""
        return RegressionMeter(self.std, quick=quick)

    def comparison(self) -> RegressionComparison:
        """The distance of the values."""
        return RegressionComparison(self.names, self.standardized)

    def measure(self, meter: Meter, validation: Meter | None) -> RegressionFindings:
        """Errors by value and over all; nothing is chosen on the validation split."""
        assert isinstance(meter, RegressionMeter)
        return meter.findings()

    def at_chance(self, metrics: Mapping[str, float], targets: Tensor) -> bool:
        """Whether R² is 0 or below, as for the mean of the targets."""
        return metrics.get("r2", 1.0) <= 0

    def weaknesses(self, found: Findings) -> tuple[str, ...]:
        """The worst value, and how large its errors are."""
        assert isinstance(found, RegressionFindings)
        return tuple(weaknesses(self.names, found))

    def sections(self, found: Mapping[str, Findings], agreement: Agreement | None) -> Sequence[Section]:
        """Predicted against true values, residuals, errors by value, and the agreement with the teacher."""
        return sections(self.names, found, agreement)

    def recipe(self, *, teacher: bool) -> str:
        """Targets and teacher in equal parts; without a teacher the mean squared error."""
        return "0.5*mse + 0.5*imitation" if teacher else "mse"
