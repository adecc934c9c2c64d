"""Gradient rules: optimizers that treat the gradient of the distillation terms apart from the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from limbeck.errors import LimbeckError
from limbeck.methods.parts.blocks import averaged
from limbeck.methods.terms import Losses


class SplitOptimizer(torch.optim.Optimizer):
    """An optimizer in the place of another, which knows the part that distillation has in each `.grad`.

    A rule is a subclass whose `step` asks `split` for both parts. `.grad` itself stays the whole gradient, so
    clipping, scaling and clearing work as ever, and the part follows: by the change of the gradient's norm.

    Args:
        base: the user's optimizer, whose parameter groups it takes over.
    """

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self._distillation: dict[Tensor, Tensor] = {}
        self._norms: list[Tensor] = []  # of the whole gradients, in the same order
        self._others: set[Tensor] = set()  # parameters that get a gradient from other terms
        super().__init__(base.param_groups, base.defaults)

    def backward(self, losses: Losses, scale: float | Tensor) -> None:
        """Adds the gradient of the total times `scale` to every `.grad`, and notes distillation's part in it.

        Which parameters get a gradient from what is read off the graph: it is no matter of values. The part
        is taken past DistributedDataParallel, which sees one backward of one sum, and averaged here.
        """
        assert losses.distillation is not None
        learning = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        gradients = torch.autograd.grad(
            losses.distillation * scale, learning, retain_graph=True, allow_unused=True
        )
        reached = {p: part for p, part in zip(learning, gradients, strict=True) if part is not None}
        others = [term.value for term in losses.terms.values() if term.kind in ("task", "own")]

        self._follow()
        self._others |= leaves(others)
        (losses.total * scale).backward()  # type: ignore[no-untyped-call]
        for parameter, part in zip(reached, averaged(list(reached.values())), strict=True):
            self._distillation.setdefault(parameter, torch.zeros_like(parameter)).add_(part)
        self._note()

    def split(self) -> tuple[dict[Tensor, Tensor], dict[Tensor, Tensor]]:
        """The gradient from the distillation terms and that from all others, for each parameter that has it.

        Raises:
            LimbeckError: if there are gradients that did not come by `losses.backward()`.
        """
        self._follow()
        self._note()
        whole = {p: p.grad for group in self.param_groups for p in group["params"] if p.grad is not None}
        if whole and not self._distillation and not self._others:
            raise LimbeckError(
                "the objective has a gradient rule, and losses.total.backward() cannot split the gradient; "
                "call losses.backward() in its place"
            )
        # Where distillation is alone, its part is all of the gradient.
        distillation = {p: part if p in self._others else whole[p] for p, part in self._distillation.items()}
        others = {
            p: gradient - distillation[p] if p in distillation else gradient
            for p, gradient in whole.items()
            if p in self._others or p not in distillation
        }
        return distillation, others

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients and the parts in them."""
        super().zero_grad(set_to_none)
        self._distillation, self._norms, self._others = {}, [], set()

    @torch.no_grad()
    def _follow(self) -> None:
        """Does to the parts what has been done to the whole gradients meanwhile."""
        noted = dict(zip(self._distillation, self._norms, strict=True))
        self._distillation = {p: part for p, part in self._distillation.items() if p.grad is not None}
        self._others = {p for p in self._others if p.grad is not None}
        if not self._distillation:
            return
        before, now = torch.stack([noted[p] for p in self._distillation]), torch.stack(self._measured())
        factors = torch.where(before > 0, now / before, 1.0)  # exactly 1 where nothing has been done
        torch._foreach_mul_(list(self._distillation.values()), list(factors.unbind()))

    def _note(self) -> None:
        self._norms = self._measured() if self._distillation else []

    def _measured(self) -> list[Tensor]:
        gradients = [p.grad for p in self._distillation if p.grad is not None]
        return list(torch._foreach_norm(gradients))


GradientRule: TypeAlias = Callable[[torch.optim.Optimizer], SplitOptimizer]
"""Makes the optimizer of a rule out of the user's own."""


def leaves(values: Iterable[Tensor]) -> set[Tensor]:
    """The leaf tensors that get a gradient from one of the values."""
    pending: list[Node] = [get_gradient_edge(value).node for value in values if value.requires_grad]
    seen, found = set(pending), set()
    while pending:
        node = pending.pop()
        if node.name() == "torch::autograd::AccumulateGrad":
            found.add(node.variable)  # type: ignore[attr-defined]
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                pending.append(following)
    return found
