"""One optimizer step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from limbeck.optimization import parts_of
from limbeck.outputs import Batch
from limbeck.training.choices import Choices
from limbeck.training.guard import Guard, gradients, parameters, step_unless
from limbeck.training.means import Means

if TYPE_CHECKING:  # torch's DTensor takes seconds to import
    from limbeck.training.sharded_state import Shares


class Step:
    """Does the optimizer steps of one loop. Nothing in it waits for an accelerator.

    Args:
        accelerator: joins the processes.
        module: turns a batch into losses.
        optimizer: over its parameters.
        accumulation: pieces each batch is worked through in.
        clip: largest norm of the gradient, for each optimizer by itself; None does not clip.
        collected: a function that makes of a batch the one that is learned from, whose rows are counted.
        rows: a function that counts the valid rows of a batch, where samples have different numbers of them.
        answered: a function that counts the samples of a batch that each teacher answers, by name, of those
            that answer for some alone.
        settle: how to compute, asked once: of what the first forward gets, and of the forwards in a step.
        scaler: what keeps small gradients of float16 from becoming zero; None for other precisions.
        shares: the optimizer's parameters where the student is sharded; None where it is not.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        accumulation: int,
        clip: float | None,
        collected: Callable[[Batch], Batch],
        rows: Callable[[Batch], Tensor | int | None],
        answered: Callable[[Batch], Mapping[str, Tensor]],
        settle: Callable[[Batch, int], Choices],
        scaler: torch.amp.GradScaler | None = None,
        shares: Shares | None = None,
    ) -> None:
        self._accelerator, self._accumulation, self._clip = accelerator, accumulation, clip
        self._settle, self._collected = settle, collected
        self._rows, self._answered = rows, answered
        self._scaler, self._shares = scaler, shares
        self._choices: Choices | None = None
        self.module, self.optimizer = module, optimizer
        self._parts = parts_of(optimizer)
        self._wrapped: nn.Module = module if shares is not None else self._joined(module)

    def _joined(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the processes."""
        alike = [
            f"{path}.{name}".lstrip(".")
            for path, part in module.named_modules()
            if getattr(part, "moves_alike", False)
            for name, _ in part.named_buffers(recurse=False)
        ]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(  # type: ignore[no-untyped-call]
            module, alike
        )
        joined: nn.Module = self._accelerator.prepare_model(module, device_placement=False)
        return joined

    @property
    def settled(self) -> bool:
        """Whether it has been settled how to compute."""
        return self._choices is not None

    def __call__(self, number: int, batch: Batch, guard: Guard, means: Means) -> None:
        """One step.

        Args:
            number: of the step in its loop, from 1.
            batch: on the device; of several processes' batch, this one's share.
            guard: keeps an update out that would not be finite.
            means: take in the figures.
        """
        world = self._accelerator.num_processes
        whole = batch.total or len(batch) * world
        pieces = self._pieces(batch, whole)
        # Gradients are averaged over processes, so a piece counts by its part of the mean share.
        shares = [len(piece) * world / whole for piece in pieces]
        if self._choices is None:
            self._choices = self._settle(pieces[0], len(pieces))
        choices = self._choices
        pieces = [choices.forward(self._collected, piece) for piece in pieces]
        if self._shares is not None:
            self._shares.begin()
        valid = self._all_rows(pieces)
        if valid is not None:
            pieces = self._with_ratios(pieces, valid)
        names, values, given = self._learned(choices, pieces, shares, valid)
        means.add(["total", *names], values, whole / world)
        self._update(number, names, values, given, guard)

    def _pieces(self, batch: Batch, whole: int) -> list[Batch]:
        """The pieces that a batch is worked through in; the batch of all processes has `whole` samples."""
        # As many in every process, though one may have a sample more: methods wait for each other in each.
        count = min(self._accumulation, whole // batch.together // self._accelerator.num_processes)
        if answered := self._answered(batch):
            sums = self._accelerator.reduce(torch.stack(list(answered.values())), reduction="sum")
            batch = replace(batch, answered=dict(zip(answered, sums / whole, strict=True)))
        return batch.split(count) if count > 1 else [batch]

    def _with_ratios(self, pieces: list[Batch], valid: Tensor) -> list[Batch]:
        """The pieces with the rows that each kind of samples stands for, if there are kinds.

        Args:
            pieces: of the batch.
            valid: the rows of the batch of all processes.
        """
        if not (kinds := pieces[0].kinds):
            return pieces
        rows = torch.stack([torch.stack([each.notes[kind].sum() for kind in kinds]) for each in pieces])
        totals = self._accelerator.reduce(rows.sum(0), reduction="sum").clamp(min=1)
        ratios = dict(zip(kinds, valid / totals, strict=True))
        return [replace(each, ratios=ratios) for each in pieces]

    def _learned(
        self, choices: Choices, pieces: list[Batch], shares: list[float], valid: Tensor | None
    ) -> tuple[list[str], Tensor, dict[str, Tensor]]:
        """Forward and backward of all pieces.

        Args:
            choices: how to compute.
            pieces: of the batch.
            shares: what each counts for.
            valid: the rows of the batch of all processes; None where every sample has as many.
        Returns: the names of the terms; (1 + T,) the total and the terms; and a scalar for each thing that
            they were computed from and training does not change.
        """
        world = self._accelerator.num_processes
        values: Tensor | None = None
        given: dict[str, Tensor] = {}
        for piece, share in zip(pieces, shares, strict=True):
            rows = None if valid is None else self._count(piece) * world / valid
            last = piece is pieces[-1]
            with self._sync(last):
                losses = choices.forward(self._wrapped, piece)
            weighed = losses if rows is None else losses.reweighed(rows / share)
            with self._sync(last):
                weighed.backward(share if self._scaler is None else self._scaled(share, losses.total))
            figures = torch.stack(
                [weighed.total.detach(), *(value.detach().to(weighed.total) for value in weighed.values())]
            )
            figures = figures if share == 1 else figures * share
            values = figures if values is None else values + figures
            for name, value in losses.given.items():
                given[name] = given[name] + value if name in given else value
        assert values is not None
        return list(losses.keys()), values, given

    def _update(
        self, number: int, names: list[str], values: Tensor, given: dict[str, Tensor], guard: Guard
    ) -> None:
        """Has the optimizer take its step, unless something is not finite."""
        if self._shares is not None:
            self._shares.take_gradients()
            found = [self._shares.norm([each for part in self._parts for each in parameters(part)])]
        else:
            found = [gradient for part in self._parts for gradient in gradients(part)]
        overflow = None if self._scaler is None else self._unscaled(found)
        if overflow is not None:  # of float16, whose scale was too large: no fault of the losses
            found = []
        # The total comes last: it is NaN whenever a term is.
        blocked = guard.admit(number, [*names, "total"], values.roll(-1), found, given)
        if overflow is not None:
            blocked = blocked | overflow
        if self._clip is not None:
            clip = torch.nn.utils.clip_grad_norm_ if self._shares is None else self._shares.clip
            for part in self._parts:
                clip(parameters(part), self._clip)
        step_unless(blocked, self.optimizer)
        self.optimizer.zero_grad()
        if self._scaler is not None:
            self._scaler.update()

    def _scaled(self, share: float, like: Tensor) -> Tensor:
        assert self._scaler is not None
        scaled: Tensor = self._scaler.scale(torch.tensor(share, device=like.device))
        return scaled

    def _unscaled(self, found: list[Tensor]) -> Tensor:
        """Divides the gradients by the scale; () bool, whether some have overflowed."""
        assert self._scaler is not None
        for part in self._parts:
            if gradients(part):
                self._scaler.unscale_(part)
        return ~torch.nn.utils.get_total_norm(found).isfinite()

    def _all_rows(self, pieces: list[Batch]) -> Tensor | None:
        """The valid rows of the batch of all processes, at least 1; None where every sample has as many."""
        if self._rows(pieces[0]) is None:
            return None
        here = torch.stack([self._count(piece) for piece in pieces]).sum()
        rows: Tensor = self._accelerator.reduce(here, reduction="sum")
        return rows.clamp(min=1)

    def _count(self, batch: Batch) -> Tensor:
        return torch.as_tensor(self._rows(batch), dtype=torch.float64, device=_device_of(batch))

    def close(self) -> None:
        """Releases what joined several processes, which holds a copy of the gradients."""
        if self._wrapped is not self.module:
            self._accelerator.free_memory()

    def _sync(self, last: bool) -> AbstractContextManager[Any]:
        # What is sharded is reduced after each piece, so that no process ever holds the whole gradient.
        alone = last or self._shares is not None
        return nullcontext() if alone else self._accelerator.no_sync(self._wrapped)


def _device_of(batch: Batch) -> torch.device:
    inputs = batch.inputs
    return (inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))).device
