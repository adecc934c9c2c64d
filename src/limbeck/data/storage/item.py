"""An item of a user's data set taken apart, and several stacked into a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from limbeck.data.checks import keeps_differences
from limbeck.data.files.decoding import check_depth, opaque
from limbeck.data.kinds import describe
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Inputs
from limbeck.tasks import Classification, Task

TARGET_KEYS = ("label", "labels", "target", "targets")
LONE_INPUT_KEYS = ("image", "img", "input", "inputs")


def read(item: Any, position: int) -> tuple[Mapping[str, Tensor], Any]:
    """An item's inputs by name, "" for one that is given to networks plainly, and its target as it is."""
    target: Any = None
    if isinstance(item, (tuple, list)):
        if len(item) not in (1, 2):
            raise LimbeckError(
                f"item {position} of the data set has {len(item)} parts; it should be (input, target)"
            )
        item, target = (*item, None)[:2]
    elif isinstance(item, Mapping):
        keys = [key for key in TARGET_KEYS if key in item]
        if len(keys) > 1:
            raise LimbeckError(f"item {position} of the data set has more than one target: {', '.join(keys)}")
        target = item[keys[0]] if keys else None
        item = {key: value for key, value in item.items() if key not in keys}
        if len(item) == 1 and next(iter(item)) in LONE_INPUT_KEYS:
            (item,) = item.values()
    inputs = item if isinstance(item, Mapping) else {"": item}
    return {name: _tensor(value, position) for name, value in inputs.items()}, target


def as_targets(targets: Sequence[Any], positions: Sequence[int], task: type[Task], which: str) -> Tensor:
    """The targets of some items as the task has them, (N, ...).

    Args:
        targets: one for each item; None where it has none.
        positions: positions of the items, for messages.
        task: what the targets are.
        which: "training", "validation" or "test", for messages.
    Raises:
        LimbeckError: naming the item and what its target should be.
    """
    if task is Classification:
        return torch.tensor([_class_id(*pair) for pair in zip(targets, positions, strict=True)])
    if all(target is None for target in targets):
        return task.as_targets(None, len(targets), which)
    arrays = []
    for target, position in zip(targets, positions, strict=True):
        if target is None:
            raise LimbeckError(f"item {position} of the data set has no target, and others have one")
        try:
            arrays.append(torch.as_tensor(target))
        except (TypeError, ValueError, RuntimeError):
            raise LimbeckError(
                f"the target of item {position} should be a number or a vector, not {target!r:.60}"
            ) from None
        if arrays[-1].shape != arrays[0].shape:
            raise LimbeckError(
                f"the target of item {position} has the shape {tuple(arrays[-1].shape)}, that of item"
                f" {positions[0]} {tuple(arrays[0].shape)}"
            )
    stacked = torch.stack(arrays)
    if task.scores == "values":
        keeps_differences(stacked, which)
    return task.as_targets(stacked, len(arrays), which)


def _class_id(target: Any, position: int) -> int:
    if target is None:
        return UNLABELED
    number = target.item() if getattr(target, "ndim", None) == 0 else target
    if type(number) is not int:
        raise LimbeckError(
            f"the target of item {position} should be a class id, an integer, not {target!r};"
            ' task="multilabel" and task="regression" take vectors and decimals'
        )
    return number


def _tensor(value: Any, position: int) -> Tensor:
    if hasattr(value, "convert") and hasattr(value, "mode"):  # a PIL image, known without importing PIL
        check_depth(value.mode, f"the image of item {position}")
        value = opaque(value)
        pixels = np.array(value if value.mode in ("L", "RGB") else value.convert("RGB"))
        return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise LimbeckError(
            f"the input of item {position} should be a tensor, an array, a PIL image or a mapping of these,"
            f" not {type(value).__name__}"
        ) from None


def stack(items: Sequence[Mapping[str, Tensor]], positions: Sequence[int]) -> Inputs:
    """One batch of items that are alike in names, shapes and dtypes."""
    kinds = [describe({name: tensor[None] for name, tensor in item.items()}) for item in items]
    for kind, position in zip(kinds, positions, strict=True):
        if kind != kinds[0]:
            raise LimbeckError(
                f"item {position} of the data set is {kind}, but item {positions[0]} is {kinds[0]};"
                " only items that are alike can share a batch: resize or pad them in the data set"
            )
    batch = {name: torch.stack([item[name] for item in items]) for name in items[0]}
    return batch.get("", batch)
