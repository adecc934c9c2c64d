"""Keeps a loss that turns NaN or infinite from ever reaching the weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import BatchNorm
from limbeck.optimization import begin_momenta, parts_of
from limbeck.outputs import Batch

CHECK_EVERY = 50
"""Steps after which a loop looks at what an accelerator has blocked; on a CPU it looks after each."""


class DivergenceError(LimbeckError):
    """A loss turned NaN or infinite; the weights are those from before it."""


class GivenNotFiniteError(DivergenceError):
    """What there is to learn from was NaN or infinite: inputs, targets or a teacher's answers."""


SHOWN = 8
"""Samples of a batch that a message lists."""

GIVEN, TERM, GRADIENT, NOTHING = range(4)
"""What a process finds of a bad step; the smaller it is, the more it explains."""


class Finding(NamedTuple):
    """What one process knows of a bad step: what was not finite there, and the samples of its share."""

    kind: int
    name: str
    samples: list[int]


class Guard:
    """Blocks the first bad update and every one after it, on the device, and tells when asked.

    Nothing is read back from the device in `admit`; `check` does, and the loop calls it now and then. What a
    forward itself changes, batch norm's running statistics, is past when the loss is known: where `check` is
    called after every step, they are put back, and otherwise they are had back from the checkpoint.

    Args:
        device: where the loop computes.
        keeps: buffers that a step changes and that are put back with it; none if it is not checked by itself.
        accelerator: joins the processes, which block the same steps; `admit` and `check` then are for all of
            them together. None for a process alone.
    """

    def __init__(
        self, device: torch.device, keeps: Sequence[Tensor] = (), accelerator: Accelerator | None = None
    ) -> None:
        self._joined = None if accelerator is None or accelerator.num_processes == 1 else accelerator
        self._keeps = list(keeps)
        self._kept = [buffer.clone() for buffer in keeps]
        self._batches: deque[tuple[int, Tensor | None]] = deque(maxlen=CHECK_EVERY)
        self.blocked = torch.zeros((), dtype=torch.bool, device=device)
        self._step = torch.full((), -1, dtype=torch.int64, device=device)
        self._bad: Tensor | None = None
        self._names: list[str] = []
        self._given: dict[str, Tensor] = {}

    def begin(self, step: int, batch: Batch) -> None:
        """Is told the number of a step and its batch before anything is computed on it."""
        self._batches.append((step, batch.index))
        if self._keeps:
            torch._foreach_copy_(self._kept, self._keeps)

    def admit(
        self,
        step: int,
        names: Sequence[str],
        values: Tensor,
        gradients: Sequence[Tensor],
        given: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Whether this step's update is blocked, as a 0-d bool on the device.

        Args:
            step: number of the step.
            names: of the terms.
            values: (T,) their values.
            gradients: of all parameters; a finite loss can have a gradient that is not.
            given: a scalar for each thing that the terms were computed from and training does not change. One
                that is not finite blocks nothing by itself, and is named in place of the terms it spoils.
        """
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else values.new_zeros(())
        bad = ~torch.cat([values.detach(), norm.reshape(1).to(values)]).isfinite()
        now = bad.any()
        if self._joined is not None:
            now = self._joined.reduce(now.int(), reduction="sum") > 0
        first = now & ~self.blocked
        self._names = [*names, "the gradient"]
        self._step = torch.where(first, step, self._step)
        self._bad = bad if self._bad is None else torch.where(first, bad, self._bad)
        for name, value in (given or {}).items():
            self._given[name] = torch.where(first, value, self._given.get(name, value))
        self.blocked = self.blocked | now
        return self.blocked

    def check(self, where: str, checkpoint: str) -> None:
        """Raises if an update has been blocked, and puts the buffers back.

        Args:
            where: the name of the loop.
            checkpoint: what to say of the last good one.
        Raises:
            DivergenceError: naming the step, its samples, and the term or what was given that spoiled it.
        """
        if self._bad is None or not self.blocked.item():
            return
        if self._keeps:
            torch._foreach_copy_(self._keeps, self._kept)
        found = [self._finding()]
        if self._joined is not None:
            found = gather_object(found)
        rank = min(range(len(found)), key=lambda each: found[each].kind)
        kind, name, samples = found[rank]
        # The gradient is the mean over all processes, so nobody knows whose samples spoiled it.
        whose, their = "", "Its samples"
        if kind == GRADIENT:
            samples = [sample for each in found for sample in each.samples]
        elif self._joined is not None:
            whose, their = f" in the process of rank {rank}", "The samples of that process's share"
        step = f"at step {int(self._step)} of {where}{whose}"
        checkpoint = f"{listed(their, samples)}{checkpoint}"
        if kind == GIVEN:
            raise GivenNotFiniteError(
                f"{name} are NaN or infinite {step}, so there is nothing to learn from; the weights were not "
                f"updated by it. {checkpoint} The learning rate has no part in it."
            )
        raise DivergenceError(
            f"{name} became NaN or infinite {step}; the weights were not updated by it. {checkpoint} A lower "
            "learning rate or clipping may help; training.skip_bad_steps (--skip-bad-steps) passes over a "
            "few such steps."
        )

    def pass_over(self) -> None:
        """Forgets a step that was blocked, so that the next ones are not."""
        self.blocked = torch.zeros_like(self.blocked)
        self._step, self._bad = torch.full_like(self._step, -1), None
        self._given.clear()

    def _finding(self) -> Finding:
        assert self._bad is not None
        number = int(self._step)
        index = next((index for step, index in self._batches if step == number), None)
        samples: list[int] = [] if index is None else index.tolist()
        for name, value in self._given.items():
            if not value.isfinite():
                return Finding(GIVEN, name, samples)
        bad = [name for name, flag in zip(self._names, self._bad.tolist(), strict=True) if flag]
        if not bad:  # it was another process's
            return Finding(NOTHING, "", samples)
        return Finding(GRADIENT if bad[0] == self._names[-1] else TERM, bad[0], samples)


def listed(whose: str, samples: list[int]) -> str:
    """A sentence that names samples."""
    if not samples:
        return ""
    more = f" and {len(samples) - SHOWN} more" if len(samples) > SHOWN else ""
    return f"{whose} are {', '.join(map(str, samples[:SHOWN]))}{more}, by their index. "


def step_unless(blocked: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step of the optimizer unless blocked; fused optimizers decide that on the device."""
    parts = parts_of(optimizer)
    for part in parts:
        if isinstance(part, torch.optim.SGD):  # also one that limbeck did not make
            begin_momenta(part)
    if all(part.defaults.get("fused") for part in parts):
        for part in parts:
            part.found_inf = blocked.float()  # type: ignore[attr-defined]
        optimizer.step()
        for part in parts:
            del part.found_inf  # type: ignore[attr-defined]
    elif not blocked.item():
        optimizer.step()


def gradients(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The gradients an optimizer is about to use."""
    return [p.grad for p in parameters(optimizer) if p.grad is not None]


def parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """The parameters an optimizer works on."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def changed_by_steps(module: nn.Module, *, every_buffer: bool) -> list[Tensor]:
    """The buffers that a forward changes: those of batch norms, or all that there are."""
    return [
        buffer
        for part in module.modules()
        if every_buffer or isinstance(part, BatchNorm)
        for buffer in part.buffers(recurse=False)
    ]
