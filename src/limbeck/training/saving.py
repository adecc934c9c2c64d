"""When a training saves, and when it stops."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from limbeck.intervals import Interval
from limbeck.stopping import Stopping

SHARE = 50
"""An epoch that took less than so many times as long as saving does not end with a checkpoint by itself."""
TOGETHER = 1.0
"""Seconds, about, after which several processes ask each other whether to save or to stop."""
LONGEST = 8
"""Steps after which they do so at the latest, as the next steps may be slower than the last ones."""


@dataclass(frozen=True)
class Due:
    """What is to be done after a step.

    Attributes:
        save: whether to save.
        signal: the signal to stop for; 0 for none.
    """

    save: bool
    signal: int


class SavePoints:
    """The moments of one `fit` at which it saves, the same in all its processes.

    Args:
        every: interval between checkpoints within an epoch; None makes none there.
        epochs: epochs between checkpoints at their ends; None makes one after each epoch, but for those that
            would have saving take more than 2 % of the time.
        accelerator: joins the processes.
        device: where they compute.
        stopping: knows the signal that this process got.
    """

    def __init__(
        self,
        every: Interval | None,
        epochs: int | None,
        accelerator: Accelerator,
        device: torch.device,
        stopping: Stopping,
    ) -> None:
        self._every, self._epochs = every or Interval(), epochs
        self._accelerator, self._device, self._stopping = accelerator, device, stopping
        self._alone = accelerator.num_processes == 1
        self._saved, self._cost = time.monotonic(), 0.0
        self._met, self._steps, self._stride = self._saved, 0, 1

    def after_step(self, number: int) -> Due | None:
        """What is to be done after a step, given its number in the loop; None for nothing."""
        every = self._every
        due = bool(every.steps and number % every.steps == 0) or bool(
            every.seconds and time.monotonic() - self._saved >= every.seconds
        )
        if self._alone:
            return Due(due, self._stopping.asked) if due or self._stopping.asked else None
        self._steps += 1
        if self._steps < self._stride and not (due and every.steps):
            return None
        return self._agreed(due)

    def after_epoch(self, number: int) -> Due:
        """What is to be done after so many epochs of a loop."""
        if self._epochs is not None:
            due = number % self._epochs == 0
        else:
            due = time.monotonic() - self._saved >= SHARE * self._cost
        return Due(due, self._stopping.asked) if self._alone else self._agreed(due) or Due(False, 0)

    def signal(self) -> int:
        """The signal to stop for, between loops; 0 for none."""
        if self._alone:
            return self._stopping.asked
        due = self._agreed(False)
        return due.signal if due else 0

    def saved(self, seconds: float, written: bool) -> bool:
        """Takes note, in every process, of a save that one of them has done; the processes meet here.

        Args:
            seconds: how long it took this process; 0 for one that did not write.
            written: whether this process has written the checkpoint.
        Returns: whether one of them has.
        """
        if not self._alone:
            seconds, written_by_one = self._largest(seconds, float(written))
            written = bool(written_by_one)
        self._saved = self._met = time.monotonic()
        self._cost, self._steps = seconds, 0
        return written

    def _agreed(self, due: bool) -> Due | None:
        """What one process wants all of them do."""
        now = time.monotonic()
        due_to_all, signal, took = self._largest(float(due), self._stopping.asked, now - self._met)
        pace = int(self._steps * TOGETHER / max(took, 1e-3))
        self._stride = max(1, min(pace, 2 * self._stride, LONGEST))
        self._met, self._steps = now, 0
        return Due(bool(due_to_all), int(signal)) if due_to_all or signal else None

    def _largest(self, *mine: float) -> list[float]:
        """Of each number the largest that a process has. The processes wait for each other."""
        row = torch.tensor([mine], dtype=torch.float32, device=self._device)
        largest: list[float] = self._accelerator.gather(row).amax(0).tolist()
        return largest
