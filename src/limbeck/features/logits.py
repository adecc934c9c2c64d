"""Which of the things that a network returns is its logits."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.features.calling import Item, element_of, elements_of

NAMES = ("logits", "out")
"""Names by which an element is the logits, whatever stands beside it; torchvision's segmenters say `out`."""


def logits_of(
    result: Any, *, width: int | None = None, dense: bool = False, whose: str = "the network"
) -> Tensor:
    """The logits in what a network returned; see `logits_item`, which says where they are.

    Args:
        result: a tensor; or a tuple, list, mapping, dataclass or Hugging Face output object with the logits.
        width: the size of their channel axis, where the task tells it.
        dense: whether the task has a decision at each position, as for pixels and tokens.
        whose: the network, for messages.

    Raises:
        LimbeckError: as `logits_item`.
    """
    logits: Tensor = element_of(result, logits_item(result, width=width, dense=dense, whose=whose))
    return logits


def logits_item(
    result: Any, *, width: int | None = None, dense: bool = False, whose: str = "the network"
) -> Item:
    """The element of what a network returned that is its logits; None for a bare tensor, which is all of it.

    It is the element named `logits` or else `out`. Without these names it is the only candidate: the only
    floating (B, C) tensor, or in a dense task the only one with positions, (B, C, H, W) or (B, L, C). Of
    several candidates it is the only one that is `width` wide.

    Args:
        result, width, dense, whose: as in `logits_of`.

    Raises:
        LimbeckError: if there is no candidate, or several that fit; lists them and says how to name one.
    """
    if isinstance(result, Tensor):
        if _is_scores(result):
            return None
    else:
        for name in NAMES:
            if _is_scores(element_of(result, name)):
                return name
        found = candidates(result, dense=dense)
        fitting = [item for item, tensor in found.items() if width_of(tensor) == width]
        if len(found) == 1 or len(fitting) == 1:
            return next(iter(found)) if len(found) == 1 else fitting[0]
        if found:
            raise _ambiguous(result, found, fitting, width, whose)
    shapes = "a floating (B, C, ...) or (B, L, C) tensor" if dense else "a floating (B, C) tensor"
    raise LimbeckError(
        f"no logits, {shapes}, in what {whose} returned: {summary(result)}; "
        f"name them by module path or element, for example {naming('fc')}"
    )


def candidates(result: Any, *, dense: bool = False) -> dict[Item, Tensor]:
    """The elements that may be logits: floating tensors, (B, C) or, in a dense task, with positions.

    Args:
        result: what a network returned.
        dense: whether the task has a decision at each position.

    Returns: by item; a tensor that is there twice is named once.
    """
    found: dict[Item, Tensor] = {}
    for item, element in elements_of(result).items():
        new = not any(element is other for other in found.values())
        if new and _is_scores(element) and (element.ndim > 2) == dense:
            found[item] = element
    return found


def width_of(logits: Tensor) -> int:
    """The size of the channel axis of logits (B, C), (B, C, H, W) or (B, L, C)."""
    return logits.shape[1 if logits.ndim > 3 else -1]


def naming(place: str) -> str:
    """How a user names the place of the logits, in Python and on the command line."""
    return (
        f'student_features={{"logits": "{place}"}} in Python, --set \'student.features.logits="{place}"\' '
        f"on the command line (teacher_features and teacher.features for a teacher)"
    )


def summary(result: Any) -> str:
    """What a network returned, for messages: `tuple([0]: (8, 64), [1]: (8, 5))`."""
    if isinstance(result, Tensor):
        return f"a {str(result.dtype).removeprefix('torch.')} tensor of shape {tuple(result.shape)}"
    elements = [
        f"[{item}]: {tuple(element.shape) if isinstance(element, Tensor) else type(element).__name__}"
        for item, element in elements_of(result).items()
        if item is not None
    ]
    return f"{type(result).__name__}({', '.join(elements)})"


def _is_scores(element: Any) -> bool:
    return isinstance(element, Tensor) and element.is_floating_point() and element.ndim >= 2


def _ambiguous(
    result: Any, found: dict[Item, Tensor], fitting: list[Item], width: int | None, whose: str
) -> LimbeckError:
    listed = ", ".join(f"[{item}] {tuple(tensor.shape)}" for item, tensor in found.items())
    of_width = "" if width is None else f" ({len(fitting) or 'none'} of them {width} wide, as the task asks)"
    example = fitting[0] if fitting else list(found)[-1]
    return LimbeckError(
        f"several things that {whose} returns may be its logits: {listed}{of_width}; all of it is "
        f"{summary(result)}; name one, for example {naming(f'[{example}]')}"
    )
