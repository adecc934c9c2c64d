"""A loop of the trainer made of functions, as tests want it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.optimization import Schedule
from limbeck.outputs import Batch
from limbeck.tasks import Metric
from limbeck.training import Loop
from limbeck.training.averaging import Averaging
from limbeck.training.patience import Patience

TOP1 = Metric("top1", "top-1", 100, "%")


class ScriptedLoop(Loop):
    """Does what the functions say, and what a `Loop` does where there are none."""

    def __init__(
        self,
        name: str,
        open: Callable[[], AbstractContextManager[tuple[nn.Module, torch.optim.Optimizer]]],
        batches: Callable[[int], Iterable[object]],
        epochs: int,
        schedule: Schedule | None = None,
        validate: Callable[[], Mapping[str, float]] | None = None,
        *,
        keep_best: bool = False,
        max_steps: int | None = None,
        patience: Patience | None = None,
        averaging: Callable[[], Averaging] | None = None,
        seed: int | None = None,
        collected: Callable[[Batch], Batch] | None = None,
        rows: Callable[[Batch], Tensor | int] | None = None,
        answered: Callable[[Batch], Mapping[str, Tensor]] | None = None,
        recall: Callable[[str], tuple[Mapping[str, Any], Callable[[], None]] | None] | None = None,
        trained: Callable[[str, Mapping[str, Any]], None] | None = None,
        finish: Callable[[], None] | None = None,
        compiled: Callable[[], AbstractContextManager[None]] | None = None,
    ) -> None:
        super().__init__(
            name,
            epochs,
            schedule,
            seed=seed,
            metric=TOP1,
            keep_best=keep_best,
            max_steps=max_steps,
            patience=patience,
        )
        self._open, self._batches = open, batches
        self._given: dict[str, Any] = {
            "collected": collected,
            "rows": rows,
            "answered": answered,
            "validate": validate,
            "recall": recall,
            "trained": trained,
            "finish": finish,
            "averaging": averaging,
            "compiled": compiled,
        }

    def open(self) -> AbstractContextManager[tuple[nn.Module, torch.optim.Optimizer]]:
        return self._open()

    def batches(self, epoch: int) -> Iterable[object]:
        return self._batches(epoch)

    def _call(self, name: str, *arguments: Any) -> Any:
        given = self._given[name]
        return getattr(super(), name)(*arguments) if given is None else given(*arguments)

    def collected(self, batch: Batch) -> Batch:
        found: Batch = self._call("collected", batch)
        return found

    def rows(self, batch: Batch) -> Tensor | int | None:
        found: Tensor | int | None = self._call("rows", batch)
        return found

    def answered(self, batch: Batch) -> Mapping[str, Tensor]:
        found: Mapping[str, Tensor] = self._call("answered", batch)
        return found

    def validate(self) -> Mapping[str, float] | None:
        found: Mapping[str, float] | None = self._call("validate")
        return found

    def recall(self, setting: str) -> tuple[Mapping[str, Any], Callable[[], None]] | None:
        found: tuple[Mapping[str, Any], Callable[[], None]] | None = self._call("recall", setting)
        return found

    def trained(self, setting: str, line: Mapping[str, Any]) -> None:
        self._call("trained", setting, line)

    def averaging(self) -> Averaging | None:
        found: Averaging | None = self._call("averaging")
        return found

    def finish(self) -> None:
        self._call("finish")

    def compiled(self) -> AbstractContextManager[None] | None:
        found: AbstractContextManager[None] | None = self._call("compiled")
        return found
