"""DOT: A Distillation-Oriented Trainer. Zhao, Cui, Song & Liang, ICCV 2023, arXiv:2307.08436."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.sgd import sgd

from limbeck.arguments import NonNegative
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.declarations import NOTHING, LossTerms
from limbeck.methods.gradient_rules import GradientRule, SplitOptimizer
from limbeck.methods.parts.kinds import check_kinds
from limbeck.outputs import Batch, Outputs


class DOTOptimizer(SplitOptimizer):
    """SGD with a momentum for each of the two gradients, the larger one for distillation (section 4).

        v_kd   <- (mu + delta) v_kd   + g_kd
        v_task <- (mu - delta) v_task + g_task + weight_decay theta
        theta  <- theta - lr (v_kd + v_task)

    A parameter that has only one of the gradients keeps the momentum mu. Its state in `state_dict` is both v.

    Args:
        base: a torch.optim.SGD with momentum mu, plain: without nesterov, dampening or maximize.
        delta: at most mu, and mu + delta below 1.
    Raises:
        LimbeckError: for another optimizer, or other settings of it.
    """

    def __init__(self, base: torch.optim.Optimizer, delta: float) -> None:
        if type(base) is not torch.optim.SGD:
            raise LimbeckError(f"dot is a rule for torch.optim.SGD with momentum, not {type(base).__name__}")
        self.delta = delta
        super().__init__(base)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters, if their settings fit the rule."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for name in ("nesterov", "dampening", "maximize", "differentiable"):
            if group[name]:
                raise LimbeckError(f"dot is a rule for plain SGD; leave {name}={group[name]} out")
        self._momenta(group)

    def _momenta(self, group: dict[str, Any]) -> tuple[float, float]:
        """The task's and distillation's; some schedules change what they are made of."""
        momentum = group["momentum"]
        if not (self.delta <= momentum and momentum + self.delta < 1):
            raise LimbeckError(
                f"dot makes two momenta of one, {momentum} - {self.delta} and {momentum} + {self.delta}; "
                "the first must not be below 0, and the second must be below 1"
            )
        return momentum - self.delta, momentum + self.delta

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, after one call of `closure` if a loop hands one over."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        distillation, task = self.split()
        for group in self.param_groups:
            smaller, larger = self._momenta(group)
            momentum, decay = group["momentum"], group["weight_decay"]
            for name, own, other, shared_momentum, shared_decay in (
                ("task_momentum", task, distillation, smaller, decay),
                ("distillation_momentum", distillation, task, larger, 0.0),
            ):
                mine = {parameter: own[parameter] for parameter in group["params"] if parameter in own}
                shared = {p: gradient for p, gradient in mine.items() if p in other}
                alone = {p: gradient for p, gradient in mine.items() if p not in other}
                self._descend(group, name, shared, shared_momentum, shared_decay)
                self._descend(group, name, alone, momentum, decay)
        return loss

    def _descend(
        self, group: dict[str, Any], name: str, gradients: dict[Tensor, Tensor], momentum: float, decay: float
    ) -> None:
        """One step of torch's SGD with the momentum that is in the state by this name."""
        for parameter in gradients:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        sgd(
            list(gradients),
            list(gradients.values()),
            [self.state[parameter][name] for parameter in gradients],
            foreach=group["foreach"],
            fused=group["fused"],
            found_inf=getattr(self, "found_inf", None),
            weight_decay=decay,
            momentum=momentum,
            lr=group["lr"],
            dampening=0,
            nesterov=False,
            maximize=False,
        )


class DOT(Method):
    """Distillation leads: its gradient has more momentum than that of the task.

    It changes no loss but the optimizer, which must be SGD with momentum: `distiller.optimizer` makes it, and
    `losses.backward()` gives it the two gradients, at the price of a second backward pass. Since it is the
    optimizer's, the rule holds for all terms of the objective, wherever in it `dot` stands.

    Args:
        base: the objective, with a term of the task and one of distillation.
        delta: added to the momentum of distillation's gradient and taken from the task's; 0.075 is for
            CIFAR-100 and Tiny ImageNet, 0.09 for ImageNet.
    """

    reads = NOTHING
    recipe = "dot(0.1*ce + 0.9*kd)"

    def __init__(self, base: Method, *, delta: NonNegative = 0.075) -> None:
        super().__init__()
        check_kinds(self.name, base)
        self.base, self.delta = base, delta

    def gradient_rule(self) -> GradientRule:
        """SGD with two momenta."""
        return partial(DOTOptimizer, delta=self.delta)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The wrapped objective's terms."""
        return self.base.terms(student, teacher, batch)
