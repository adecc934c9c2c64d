"""What a user's tensors must be to become a source; the errors say what is wrong, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy.typing as npt
import torch
from torch import Tensor

from limbeck.data.kinds import describe
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Inputs

ArrayLike: TypeAlias = "Tensor | npt.NDArray[Any]"
InputsLike: TypeAlias = "ArrayLike | Mapping[str, ArrayLike]"
TargetsLike: TypeAlias = "ArrayLike | Sequence[int]"


def as_inputs(inputs: InputsLike, which: str) -> Inputs:
    """The inputs as tensors: as many samples in each, at least one, and all numbers finite."""
    given = inputs if isinstance(inputs, Mapping) else {"": inputs}
    try:
        tensors = {name: torch.as_tensor(array) for name, array in given.items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise LimbeckError(f"the {which} inputs should be tensors or arrays of numbers: {error}") from None
    sizes = {len(tensor) if tensor.ndim else 0 for tensor in tensors.values()}
    if len(sizes) > 1:
        lengths = ", ".join(f"{name} {len(tensor)}" for name, tensor in tensors.items())
        raise LimbeckError(f"the {which} inputs differ in their number of samples: {lengths}")
    if sizes <= {0}:
        raise LimbeckError(f"the {which} data is empty")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            place = tuple(tensor.isfinite().logical_not().nonzero()[0].tolist())
            what = f"{which} inputs {name}".strip()
            raise LimbeckError(f"the {what} hold {tensor[place]:g} in sample {place[0]}, at {place[1:]}")
    return tensors if isinstance(inputs, Mapping) else tensors[""]


def as_targets(targets: TargetsLike | None, inputs: Inputs, which: str) -> Tensor:
    """The targets as (N,) int64 beside the inputs; all `UNLABELED` for None."""
    first = inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
    if targets is None:
        return torch.full((len(first),), UNLABELED, device=first.device)
    try:
        ids = torch.as_tensor(targets, device=first.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LimbeckError(f"the {which} targets should be class ids, integers: {error}") from None
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise LimbeckError(f"the {which} targets should be class ids, integers, not {ids.dtype}")
    if ids.ndim != 1:
        raise LimbeckError(
            f"the {which} targets should be one class id a sample, (N,), not {tuple(ids.shape)}"
        )
    if len(ids) != len(first):
        raise LimbeckError(f"there are {len(first)} {which} inputs but {len(ids)} targets")
    return ids.long()


def class_names(names: Sequence[str] | None, num_classes: int | None) -> tuple[str, ...] | None:
    """The names given, or numbers for as many classes as were given; None if neither was."""
    if names is None and num_classes is None:
        return None
    names = [str(label) for label in range(num_classes or 0)] if names is None else names
    if num_classes not in (None, len(names)):
        raise LimbeckError(f"there are {len(names)} class names for {num_classes} classes")
    return _at_least_two(names)


def names_from(targets: Tensor) -> tuple[str, ...]:
    """Numbers for the classes that the training targets show."""
    if not (targets != UNLABELED).any():
        raise LimbeckError(
            "no training sample has a label, so the number of classes is unknown; give num_classes"
        )
    return _at_least_two([str(label) for label in range(int(targets.max()) + 1)])


def _at_least_two(names: Sequence[str]) -> tuple[str, ...]:
    if len(names) < 2:
        raise LimbeckError(f"there should be at least 2 classes, not {len(names)}")
    return tuple(names)


def check_range(targets: Tensor, num_classes: int, which: str) -> None:
    """Refuses a target that is neither a class id nor `UNLABELED`."""
    wrong = ((targets < 0) | (targets >= num_classes)) & (targets != UNLABELED)
    if wrong.any():
        position = int(wrong.nonzero()[0])
        raise LimbeckError(
            f"the {which} target {int(targets[position])} at position {position} is out of range:"
            f" with {num_classes} classes it should be 0 to {num_classes - 1}, or {UNLABELED} for no label"
        )


def check_alike(sample: Inputs, training: Inputs, which: str) -> None:
    """Refuses a sample whose names, shape or dtype are not those of a training sample."""
    if describe(sample) != describe(training):
        raise LimbeckError(
            f"a {which} sample is {describe(sample)}, but a training sample is {describe(training)}"
        )
