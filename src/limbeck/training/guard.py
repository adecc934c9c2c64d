"""Keeps a loss that turns NaN or infinite from ever reaching the weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.optimization import parts_of
from limbeck.outputs import Batch

CHECK_EVERY = 50
"""Steps after which a loop looks at what an accelerator has blocked; on a CPU it looks after each."""


class DivergenceError(LimbeckError):
    """A loss turned NaN or infinite; the weights are those from before it."""


SHOWN = 8
"""Samples of a batch that a message lists."""


class Guard:
    """Blocks the first bad update and every one after it, on the device, and tells when asked.

    Nothing is read back from the device in `admit`; `check` does, and the loop calls it now and then. What a
    forward itself changes, batch norm's running statistics, is past when the loss is known: where `check` is
    called after every step, they are put back, and otherwise they are had back from the checkpoint.

    Args:
        device: where the loop computes.
        keeps: buffers that a step changes and that are put back with it; none if it is not checked by itself.
    """

    def __init__(self, device: torch.device, keeps: Sequence[Tensor] = ()) -> None:
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
        checkpoint = f"{self._samples()}{checkpoint}"
        for name, value in self._given.items():
            if not value.isfinite():
                raise DivergenceError(
                    f"{name} are NaN or infinite at step {int(self._step)} of {where}, so there is nothing "
                    f"to learn from; the weights were not updated by it. {checkpoint} "
                    "The learning rate has no part in it."
                )
        bad = [name for name, flag in zip(self._names, self._bad.tolist(), strict=True) if flag]
        raise DivergenceError(
            f"{bad[0]} became NaN or infinite at step {int(self._step)} of {where}; the weights were not "
            f"updated by it. {checkpoint} "
            "A lower learning rate or clipping may help; training.skip_bad_steps (--skip-bad-steps) passes "
            "over a few such steps."
        )

    def pass_over(self) -> None:
        """Forgets a step that was blocked, so that the next ones are not."""
        self.blocked = torch.zeros_like(self.blocked)
        self._step, self._bad = torch.full_like(self._step, -1), None
        self._given.clear()

    def _samples(self) -> str:
        """A sentence that names the samples of the bad step."""
        number = int(self._step)
        index = next((index for step, index in self._batches if step == number), None)
        if index is None:
            return ""
        found = index.tolist()
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        return f"Its samples are {', '.join(map(str, found[:SHOWN]))}{more}, by their index. "


def step_unless(blocked: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step of the optimizer unless blocked; fused optimizers decide that on the device."""
    parts = parts_of(optimizer)
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
