"""Means of an epoch's terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator
from torch import Tensor, cat, device, stack

from limbeck.errors import LimbeckError


class Means:
    """Means over an epoch and all processes, weighted by samples, on the device until they are read."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None
        self._samples = 0.0
        self._before: tuple[Tensor | None, float] = None, 0.0

    def add(self, names: list[str], values: Tensor, samples: float) -> None:
        """Takes in a step's (T,) values, which stand for so many samples."""
        if self._names and names != self._names:
            raise LimbeckError(f"the terms changed within an epoch, from {self._names} to {names}")
        self._before = self._sums, self._samples
        self._names, self._samples = names, self._samples + samples
        self._sums = values * samples if self._sums is None else self._sums + values * samples

    def drop(self) -> None:
        """Takes the last step out again."""
        self._sums, self._samples = self._before

    def state(self) -> dict[str, Any]:
        """What has been taken in."""
        sums = None if self._sums is None else self._sums.cpu()
        return {"names": self._names, "sums": sums, "samples": self._samples}

    def load(self, states: Sequence[dict[str, Any]], place: device) -> None:
        """Goes on from what one or several others had taken in; of none, from nothing."""
        sums = [state["sums"] for state in states if state["sums"] is not None]
        if sums:
            self._names = next(state["names"] for state in states if state["sums"] is not None)
            self._sums = stack(sums).sum(0).to(place) if len(sums) > 1 else sums[0].to(place)
            self._samples = sum(state["samples"] for state in states)

    def read(self, accelerator: Accelerator) -> dict[str, float]:
        """The means by term, the same on every process."""
        if self._sums is None:
            raise LimbeckError("the loader gave no batch in this epoch; it must start anew at each `iter()`")
        sums = cat([self._sums, self._sums.new_tensor([self._samples])])
        *sums, samples = accelerator.reduce(sums, reduction="sum").tolist()
        return {name: value / samples for name, value in zip(self._names, sums, strict=True)}
