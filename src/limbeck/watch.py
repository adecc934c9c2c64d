"""What a Distiller looks out for in training: parts that nobody trains, and inputs that are not finite."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from limbeck.methods.base import Method, Objective, inner_first
from limbeck.methods.terms import Losses
from limbeck.outputs import Inputs, Outputs
from limbeck.projection import Projection
from limbeck.ranked import Ranked
from limbeck.shares import here

FIRST_LOOK = 4
"""The training forward at which the parts are first compared with what they were, after three steps."""
EVERY = 8
"""Forwards in each of which the student is looked at; after them, at twice as many each time."""
LAST_LOOK = 1024
"""Forwards after which a student that has not changed either is left alone."""
SMALL = 1e-4
"""Largest gradient of a part, over its largest value, with which it may stay as it is in floating point."""
_CALLED = {"projection": "logits", "ranked": "logits", "sides": "maps"}
"""What fields of a teacher's outputs are called, where that is not their name."""


class UntrainedParts:
    """Warns, once, of methods' own parts that get gradients and stay as they are while the student learns.

    It is what happens in a loop whose optimizer has the student's parameters only. Whether a loop has taken a
    step shows in the student, so accumulated gradients and a rate that rises from zero mean no warning, and
    neither do parts whose gradient is zero in the first step: the student has changed twice before. It costs
    a few sums over the parameters, and more only where something is wrong.
    """

    def __init__(self) -> None:
        self._forwards = self._steps = 0
        self._over = False
        self._names: list[str] = []
        self._before: list[float] = []
        self._student: list[float] = []

    def look(self, student: nn.Module, objective: Method, losses: Losses) -> None:
        """Counts a training forward, and compares from the 4th on, once the student has changed twice.

        Args:
            student: the student.
            objective: whose methods have the parts.
            losses: what the forward gave.
        """
        if self._over or torch.compiler.is_compiling():
            return
        self._forwards += 1
        if self._forwards > EVERY and self._forwards & (self._forwards - 1):
            return
        parts = dict(_parts(objective))
        now = _sums(p for p in student.parameters() if p.requires_grad)
        if self._forwards == 1 or list(parts) != self._names:
            self._names, self._before, self._steps = list(parts), _sums(parts.values()), 0
            self._over = not parts
        elif now != self._student:
            self._steps += 1
        self._student = now
        if self._steps < 2 or self._forwards < FIRST_LOOK:
            self._over = self._over or self._forwards >= LAST_LOOK
            return
        self._over = True
        pairs = zip(parts.items(), _sums(parts.values()), self._before, strict=True)
        idle = {name: part for (name, part), after, before in pairs if after == before}
        if names := _learning(idle, losses):
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            warnings.warn(
                f"the student learns, but {names[0]}{more}, which the objective trains with it, stay as "
                "they began: no optimizer has them; make yours with distiller.optimizer(...), or of "
                "distiller.parameters()",
                stacklevel=5,
            )


def sums_of_inputs(inputs: Inputs) -> dict[str, Tensor]:
    """A sum over a batch's inputs, finite if all of them are; nothing for inputs that are no floats."""
    total = _sum(inputs)
    return {} if total is None else {"the inputs of the batch": total}


def sums_of_teachers(outputs: Outputs) -> dict[str, Tensor]:
    """A sum over each field of the outputs of one teacher or several, finite if all of the field is."""
    if "named" in outputs:
        by_name = {f" {name!r}": each for name, each in outputs.named.items()}
    else:
        by_name = {"": outputs}
    sums = {
        f"the {_CALLED.get(field, field)} of the teacher{name}": _sum(value)
        for name, each in by_name.items()
        for field, value in each.items()
    }
    return {name: total for name, total in sums.items() if total is not None}


def _sum(value: Any) -> Tensor | None:
    """The sum of all floats in a tensor, or in whatever holds tensors."""
    if isinstance(value, Tensor):
        return value.detach().sum() if value.is_floating_point() else None
    if isinstance(value, Projection):
        return _sum(value.hidden)
    if isinstance(value, Ranked):
        return _sum(value.logs)
    if isinstance(value, Mapping):
        value = list(value.values())
    sums = [_sum(each) for each in value] if isinstance(value, (list, tuple)) else []
    found = [each for each in sums if each is not None]
    return torch.stack([each.float() for each in found]).sum() if found else None


def _parts(objective: Method) -> Iterator[tuple[str, nn.Parameter]]:
    """The methods' own parameters that are trained, each once, by what to call them."""
    seen: set[int] = set()
    for method in inner_first(objective):
        for name, parameter in () if isinstance(method, Objective) else method.named_parameters():
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{name} of {method.name}", parameter


def _sums(parameters: Iterable[nn.Parameter]) -> list[float]:
    """The sum of each parameter, in double precision, so that a small step shows in it."""
    with torch.no_grad():
        sums = [here(parameter).sum(dtype=torch.float64) for parameter in parameters]
        values: list[float] = torch.stack([each.to(sums[0].device) for each in sums]).tolist() if sums else []
    return values


def _learning(parts: Mapping[str, nn.Parameter], losses: Losses) -> list[str]:
    """Names of those parts on which the losses depend so much that a step would show."""
    if not parts or not losses.total.requires_grad:
        return []
    gradients = torch.autograd.grad(losses.total, list(parts.values()), retain_graph=True, allow_unused=True)
    return [
        name
        for (name, part), gradient in zip(parts.items(), gradients, strict=True)
        if gradient is not None and bool(gradient.abs().max() > SMALL * part.detach().abs().max())
    ]
