"""Errors of values, summed up while they come in."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """What the errors of K values come to, (K,) float64 each; exact for any number of batches.

    Attributes:
        count: known values.
        mean: mean of the targets.
        spread: sum of the squared distances of the targets from their mean.
        error: sum of the errors, answer less target.
        absolute: sum of the absolute errors.
        squared: sum of the squared errors.
    """

    count: Tensor
    mean: Tensor
    spread: Tensor
    error: Tensor
    absolute: Tensor
    squared: Tensor

    @classmethod
    def of(cls, answers: Tensor, targets: Tensor) -> Moments:
        """The moments of some samples; answers (B, K), and targets (B, K) with NaN where one is not known."""
        known, targets = ~targets.isnan(), targets.double()
        count = known.sum(0).double()
        mean = targets.where(known, 0).sum(0) / count.clamp(min=1)
        error = (answers.double() - targets).where(known, 0)
        spread = (targets - mean).where(known, 0).square().sum(0)
        return cls(count, mean, spread, error.sum(0), error.abs().sum(0), error.square().sum(0))

    def __add__(self, other: Moments) -> Moments:
        """Of both; mean and spread as in Chan, Golub & LeVeque, Technical Report STAN-CS-79-773, 1979."""
        count = self.count + other.count
        share = other.count / count.clamp(min=1)
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * share,
            self.spread + other.spread + apart.square() * self.count * share,
            self.error + other.error,
            self.absolute + other.absolute,
            self.squared + other.squared,
        )

    @property
    def rmse(self) -> Tensor:
        """(K,) root mean squared error; NaN where no target is known."""
        return (self.squared / self.count).sqrt()

    @property
    def mae(self) -> Tensor:
        """(K,) mean absolute error; NaN where no target is known."""
        return self.absolute / self.count

    @property
    def bias(self) -> Tensor:
        """(K,) mean error; NaN where no target is known."""
        return self.error / self.count

    @property
    def varies(self) -> Tensor:
        """(K,) whether the targets are not all the same, to rounding."""
        return self.spread > 1e-24 * self.count * self.mean.square()

    @property
    def r2(self) -> Tensor:
        """(K,) share of the targets' variance that the answers explain; nothing where they do not vary."""
        return 1 - self.squared / self.spread
