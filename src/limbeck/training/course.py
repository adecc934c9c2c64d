"""A loop in its course, which a checkpoint may break off and take up again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from limbeck.training.averaging import averaged
from limbeck.training.length import Length
from limbeck.training.loop import Loop

if TYPE_CHECKING:
    from limbeck.training.sharding import Sharder

SMALLEST_SCALE = 2.0**-14
"""A scale of float16's gradients that only falls below this where each step overflows."""


class Course:
    """How far a loop has come, and what moves along it besides the weights.

    Args:
        number: of the loop, among those of one `fit`.
        loop: whose course it is; it is open.
        length: of the loop.
        module: what the loop trains.
        optimizer: over what learns.
        scaler: keeps small gradients of float16 from becoming zero; None for other precisions.
        sharder: has the student in shares; None where nothing is sharded.
    Attributes:
        schedule: of the learning rate.
        averaging: of the weights; None for none.
        shares: what the optimizer works on where the student is sharded; None where it is not.
        done: epochs that are over.
        within: what a checkpoint within the epoch that comes next says of it; None at its beginning.
        best: the best epoch so far by the loop's metric, with its weights; None if none are to be kept.
    """

    def __init__(
        self,
        number: int,
        loop: Loop,
        length: Length,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None,
        sharder: Sharder | None,
    ) -> None:
        self.number, self.loop, self.length = number, loop, length
        self.module, self.optimizer, self.scaler = module, optimizer, scaler
        self.schedule = loop.schedule(optimizer, length.per_epoch, length.in_epochs)
        self.averaging = loop.averaging()
        moving: dict[str, Any] = {
            "optimizer": optimizer,
            "schedule": self.schedule,
            "averaging": self.averaging,
            "patience": loop.patience,
            "scaler": scaler,
        }
        self._moving = {name: part for name, part in moving.items() if part is not None}
        self.shares = None if sharder is None else sharder.shares(module, optimizer)
        if sharder is not None:
            self._moving |= sharder.kept(self.shares, self.averaging)
        self.done = 0
        self.within: dict[str, Any] | None = None
        self.best: dict[str, Any] | None = None

    def load(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave."""
        for name, part in self._moving.items():
            part.load_state_dict(state[name])
        self.done, self.best, self.within = state["epoch"], state["best"], state.get("within")

    def state(self, within: dict[str, Any] | None = None) -> dict[str, Any]:
        """What a checkpoint keeps of it, the weights apart.

        Args:
            within: what is to be kept of the epoch in whose middle it is; None between two.
        """
        moving = {name: part.state_dict() for name, part in self._moving.items()}
        return {"loop": self.number, "epoch": self.done, "within": within, "best": self.best, **moving}

    def shipped(self) -> AbstractContextManager[None]:
        """A context in which the module has the weights that would be shipped now."""
        return averaged(self.averaging)

    def choose(self, root: nn.Module, figures: Mapping[str, float]) -> None:
        """Keeps the weights of the epoch that is over, if they are the best so far and to be kept."""
        metric = self.loop.metric
        if not self.loop.keep_best or metric is None:
            return
        value = figures[metric.name]
        if self.best is None or metric.better(value, self.best["value"]):
            weights = {name: each.clone() for name, each in root.state_dict().items()}
            self.best = {"value": value, "root": weights}

    @property
    def overflows(self) -> bool:
        """Whether the gradients overflow float16 at any scale."""
        return self.scaler is not None and self.scaler.get_scale() < SMALLEST_SCALE
