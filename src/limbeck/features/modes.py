"""Where the logits are in training mode, of a network that returns something else there than in eval mode."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.features.calling import element_of
from limbeck.features.logits import candidates, logits_item, summary, width_of
from limbeck.features.points import Point
from limbeck.features.trace import Trace
from limbeck.features.values import Value


def in_training(evaluated: Trace, trained: Trace, logits: Point, *, dense: bool) -> Point:
    """The place in what a network returns in training mode that holds the logits of eval mode.

    It is the element that the same layers make. Of several, or where the traces do not show layers, it is the
    element at the same place, and else the one that `logits_item` finds.

    Args:
        evaluated: the network's forward in eval mode.
        trained: its forward in training mode.
        logits: where the logits are in eval mode, in what the network itself returns.
        dense: whether the task has a decision at each position.

    Raises:
        LimbeckError: if no element is made by the layers that make the logits in eval mode.
    """
    before, result = element_of(evaluated.result, logits.item), trained.result
    wanted = _makers(evaluated, before)
    if isinstance(result, Tensor):
        if width_of(result) == width_of(before) or _makers(trained, result) == wanted:
            return Point("")
        raise _no_such_head(evaluated, result, wanted)
    same = element_of(result, logits.item) if logits.item is not None else None
    found = candidates(result, dense=dense or before.ndim > 2)
    made = {item: _makers(trained, tensor) for item, tensor in found.items()}
    if wanted and any(made.values()):
        matching = [item for item, makers in made.items() if makers == wanted]
        if not matching:
            raise _no_such_head(evaluated, result, wanted)
        if len(matching) == 1:
            return Point("", item=matching[0])
        found = {item: found[item] for item in matching}
    if any(same is tensor for tensor in found.values()):
        return logits
    item = logits_item(
        result, width=width_of(before), dense=before.ndim > 2, whose=f"{evaluated.name} in training mode"
    )
    return Point("", item=item)


def _makers(trace: Trace, tensor: Tensor) -> frozenset[str]:
    """The paths of the modules whose weights a tensor went through last, on every way to it."""
    value = trace.value_of(tensor)
    found: set[str] = set()
    pending, seen = [] if value is None else [value], set[Value]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.weight is not None:
            found.add("" if value.module is None else value.module.path)
        else:
            pending += value.sources
    return frozenset(found)


def _no_such_head(evaluated: Trace, result: Any, wanted: frozenset[str]) -> LimbeckError:
    layers = " and ".join(sorted(wanted)) or "a layer"
    example = min(wanted, default="fc")
    return LimbeckError(
        f"{evaluated.name} returns other outputs in training mode than in eval mode: {summary(result)}, none "
        f"of which is made by what makes its logits in eval mode ({layers}); name a module that makes the "
        f'logits in both, for example student_features={{"logits": "{example}"}} in Python, or '
        f"--set student.features.logits={example} on the command line"
    )
