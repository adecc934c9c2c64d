"""One optimizer step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from limbeck.optimization import parts_of
from limbeck.outputs import Batch
from limbeck.training.choices import Choices
from limbeck.training.guard import Guard, gradients, parameters, step_unless
from limbeck.training.means import Means


class Step:
    """Does the optimizer steps of one stage. Nothing in it waits for an accelerator.

    Args:
        accelerator: joins the processes.
        module: turns a batch into losses.
        optimizer: over its parameters.
        accumulation: pieces each batch is worked through in.
        clip: largest norm of the gradient, for each optimizer by itself; None does not clip.
        settle: how to compute, asked once: of what the first forward gets, and of the forwards in a step.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        accumulation: int,
        clip: float | None,
        settle: Callable[[Batch, int], Choices],
    ) -> None:
        self._accelerator, self._accumulation, self._clip = accelerator, accumulation, clip
        self._settle = settle
        self._choices: Choices | None = None
        self.module, self.optimizer = module, optimizer
        self._parts = parts_of(optimizer)
        self._wrapped: nn.Module = accelerator.prepare_model(module, device_placement=False)

    def __call__(self, number: int, batch: Batch, guard: Guard, means: Means) -> None:
        """One step.

        Args:
            number: of the step in its stage, from 1.
            batch: on the device; of several processes' batch, this one's share.
            guard: keeps an update out that would not be finite.
            means: take in the figures.
        """
        world = self._accelerator.num_processes
        whole = batch.total or len(batch) * world
        # As many in every process, though one may have a sample more: methods wait for each other in each.
        count = min(self._accumulation, whole // world)
        pieces = batch.split(count) if count > 1 else [batch]
        if self._choices is None:
            self._choices = self._settle(pieces[0], len(pieces))
        values: Tensor | None = None
        for piece in pieces:
            # Gradients are averaged over processes, so a piece counts by its part of the mean share.
            share = len(piece) * world / whole
            last = piece is pieces[-1]
            with self._sync(last):
                losses = self._choices.forward(self._wrapped, piece)
            with self._sync(last):
                losses.backward(share)
            figures = torch.stack(
                [losses.total.detach(), *(value.detach().to(losses.total) for value in losses.values())]
            )
            figures = figures if share == 1 else figures * share
            values = figures if values is None else values + figures
        assert values is not None
        names = list(losses.keys())
        means.add(["total", *names], values, whole / world)
        # The total is last to be named: a broken term breaks it too.
        found = [gradient for part in self._parts for gradient in gradients(part)]
        blocked = guard.admit(number, [*names, "total"], values.roll(-1), found)
        if self._clip is not None:
            for part in self._parts:
                torch.nn.utils.clip_grad_norm_(parameters(part), self._clip)
        step_unless(blocked, self.optimizer)
        self.optimizer.zero_grad()

    def close(self) -> None:
        """Lets go of what joined several processes, which holds a copy of the gradients."""
        if self._wrapped is not self.module:
            self._accelerator.free_memory()

    def _sync(self, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self._accelerator.no_sync(self._wrapped)
