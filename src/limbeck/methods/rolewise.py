"""Role-wise data augmentation for KD: its gradient rule. Fu et al., 2020, arXiv:2004.08861.

The rule is that of the published code. Its weight of distillation multiplies the reported loss alone there;
here a weight is one of the objective, and reaches the gradient. The augmentation is `limbeck search-views`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import LossTerms, Reads
from limbeck.methods.gradient_rules import GradientRule, SplitOptimizer
from limbeck.methods.parts.kinds import check_kinds
from limbeck.outputs import Batch, Outputs


def restrained(distillation: Tensor, task: Tensor, epoch: int) -> Tensor:
    """The gradient that distillation has for one parameter, no longer than a share of the task's.

        clip(g_kd, limit) = g_kd min(1, limit / ||g_kd||),    limit = ||g_task|| / (1 + exp(-epoch))

    Half of the task's length is let through in epoch 0, and soon all of it.

    Args:
        distillation: gradient g_kd, any shape.
        task: gradient g_task of the same parameter, the same shape.
        epoch: epochs that are done, from 0.
    Returns: the shape of both.
    Raises:
        LimbeckError: for two shapes, and an epoch below 0.
    """
    if distillation.shape != task.shape:
        raise LimbeckError(
            f"rolewise compares two gradients of one parameter, not {tuple(distillation.shape)} and "
            f"{tuple(task.shape)}"
        )
    if epoch < 0:
        raise LimbeckError(f"rolewise counts epochs from 0, not {epoch}")
    limit = task.norm() / (1 + math.exp(-epoch))
    tiny = torch.finfo(distillation.dtype).tiny  # a gradient of zero stays one
    share: Tensor = (limit / distillation.norm().clamp_min(tiny)).clamp_max(1)
    return distillation * share


class RolewiseOptimizer(SplitOptimizer):
    """Any optimizer, which gets a gradient in which distillation is restrained, parameter by parameter.

        g = g_task + clip(g_kd, ||g_task|| sigmoid(epoch))

    Weight decay is the optimizer's: what decays by a gradient adds it to this one. A parameter that has only
    one of the gradients keeps it whole, as distillation's own parts do. Groups and state are the optimizer's,
    and `.grad` is left as it was.

    Args:
        base: the user's optimizer.
        epoch: a function that tells the epochs done.
    """

    def __init__(self, base: torch.optim.Optimizer, epoch: Callable[[], int]) -> None:
        self.base, self.epoch = base, epoch
        super().__init__(base)
        self._share()

    def _share(self) -> None:
        self.param_groups, self.state = self.base.param_groups, self.base.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, after one call of `closure` if a loop hands one over."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        distillation, task = self.split()
        both = [parameter for parameter in distillation if parameter in task]
        whole = {parameter: parameter.grad for parameter in both}
        for parameter in both:
            ours = restrained(distillation[parameter], task[parameter], self.epoch())
            parameter.grad = task[parameter] + ours
        if hasattr(self, "found_inf"):  # by which a fused optimizer is told on the device to leave a step out
            self.base.found_inf = self.found_inf  # type: ignore[attr-defined]
        try:
            self.base.step()
        finally:
            if hasattr(self.base, "found_inf"):
                del self.base.found_inf
            for parameter, gradient in whole.items():
                parameter.grad = gradient
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.base.load_state_dict(state_dict)
        self._share()


class Rolewise(Method):
    """Distillation may pull a parameter no harder than the task does, and at first only half as hard.

    It changes no loss but the optimizer, which may be any: `distiller.optimizer` makes it, and
    `losses.backward()` gives it the two gradients, at the price of a second backward pass. Since it is the
    optimizer's, the rule holds for all terms of the objective, wherever in it `rolewise` stands. Clipping by
    the norm of the whole gradient happens before.

    Args:
        base: the objective, with a term of the task and one of distillation, whose weights reach the
            gradients.
    """

    reads = Reads(student=(), batch=("progress",))
    recipe = "rolewise(ce + kd)"

    def __init__(self, base: Method) -> None:
        super().__init__()
        check_kinds(self.name, base)
        self.base = base
        self._epoch = 0

    def gradient_rule(self) -> GradientRule:
        """The user's optimizer with distillation's gradient restrained."""
        return partial(RolewiseOptimizer, epoch=self.epochs_done)

    def epochs_done(self) -> int:
        """Epochs done when it was last given a batch."""
        return self._epoch

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The wrapped objective's terms."""
        assert batch.progress is not None
        self._epoch = batch.progress.epoch
        return self.base.terms(student, teacher, batch)
