"""Means of an epoch's terms."""

from __future__ import annotations

from accelerate import Accelerator
from torch import Tensor, cat

from limbeck.errors import LimbeckError


class Means:
    """Means over an epoch and all processes, weighted by samples, on the device until they are read."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None
        self._samples = 0.0

    def add(self, names: list[str], values: Tensor, samples: float) -> None:
        """Takes in a step's (T,) values, which stand for so many samples."""
        if self._names and names != self._names:
            raise LimbeckError(f"the terms changed within an epoch, from {self._names} to {names}")
        self._names, self._samples = names, self._samples + samples
        self._sums = values * samples if self._sums is None else self._sums + values * samples

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """The means by term, the same on every process."""
        if self._sums is None:
            raise LimbeckError("the loader gave no batch in this epoch; it must start anew at each `iter()`")
        sums = cat([self._sums, self._sums.new_tensor([self._samples])])
        *sums, samples = accelerator.reduce(sums, reduction="sum").tolist()
        return {name: value / samples for name, value in zip(self._names, sums, strict=True)}
