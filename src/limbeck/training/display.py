"""Shows how training goes: a live line on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from limbeck.tasks import Metric
from limbeck.training.length import Length


class Display:
    """The display of one `fit`.

    Args:
        enabled: shows nothing if false.
        console: where to; standard error by default, so that standard output stays for results.
    """

    def __init__(self, enabled: bool, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._enabled = enabled
        self._bar: Bar | None = None

    def __enter__(self) -> Display:
        if self._enabled and self._console.is_terminal:
            columns = [TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn()]
            self._bar = Bar(*columns, TextColumn("{task.fields[figures]}"), console=self._console)
            self._bar.start()
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def begin(self, name: str, first: int, length: Length, metric: Metric | None = None) -> None:
        """A loop starts from the epoch number `first`, counted from 0; `metric` is shown of it."""
        self._name, self._first, self._epochs, self._steps = name, first, length.epochs, length.per_epoch
        self._metric = metric
        self._done, self._begun, self._figures = first, time.monotonic(), ""
        if self._bar:
            self._task = self._bar.add_task(
                name, total=length.total, completed=first * length.per_epoch, figures=""
            )

    def step(self, position: int) -> None:
        """So many steps of this epoch are done."""
        if self._bar:
            self._bar.update(self._task, completed=self._done * self._steps + position)

    def note(self, text: str) -> None:
        """Something worth a line."""
        if self._enabled:
            self._console.print(text, soft_wrap=True, markup=False)

    def epoch(self, line: Mapping[str, Any]) -> None:
        """An epoch is over; `line` is its record."""
        self._done = line["epoch"]
        figures = [f"{name} {value:.4g}" for name, value in line["terms"].items()]
        if "validation" in line and (metric := self._metric) is not None:
            figures.append(f"validation {metric.label} {metric.show(line['validation'][metric.name])}")
        left = (time.monotonic() - self._begun) / (self._done - self._first) * (self._epochs - self._done)
        count = f"{self._done}/{self._epochs}"
        text = "  ".join([*figures, f"{_clock(left)} left" if self._done < self._epochs else "done"])
        if self._bar:
            self._bar.update(self._task, description=f"{self._name} {count}", figures=text)
        elif self._enabled:
            self._console.print(f"{self._name} {count}  {text}", soft_wrap=True, markup=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
