"""Early stopping: a training ends when its metric on the validation split has not improved for a while."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from limbeck.tasks import Metric


class Patience:
    """Counts the epochs since the metric last improved.

    Args:
        epochs: how many in a row may pass without an improvement.
        min_delta: an improvement is larger than this, in the metric's own unit: 0.001 is 0.1 points of a
            percentage.
        start: the epoch after which it begins to count.
    """

    def __init__(self, epochs: int, min_delta: float = 0.0, start: int = 0) -> None:
        self.epochs, self.min_delta, self.start = epochs, min_delta, start
        self._best, self._at = math.nan, 0

    def over(self, metric: Metric, figures: Mapping[str, float], epoch: int) -> str | None:
        """Takes in the figures of an epoch, counted from 1.

        Returns: a sentence without a full stop that says why training ends; None if it goes on.
        """
        value = figures[metric.name]
        least = self._best + (self.min_delta if metric.higher else -self.min_delta)
        if not math.isnan(value) and (math.isnan(self._best) or metric.better(value, least)):
            self._best, self._at = value, epoch
        if epoch - max(self._at, self.start) < self.epochs:
            return None
        if math.isnan(self._best):
            return (
                f"stopped early after epoch {epoch}: {metric.label} on the validation split has been NaN "
                "from the first epoch on"
            )
        by = f" by more than {self.min_delta:g}" if self.min_delta else ""
        return (
            f"stopped early after epoch {epoch}: {metric.label} on the validation split has not improved{by} "
            f"since epoch {self._at}, when it was {metric.show(self._best)}"
        )

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self._best, "at": self._at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self._best, self._at = state["best"], state["at"]
