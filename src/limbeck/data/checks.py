"""What a user's tensors must be to become a source; the errors say what is wrong, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy.typing as npt
import torch
from torch import Tensor

from limbeck.data.kinds import describe
from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs
from limbeck.tasks import Task

ArrayLike: TypeAlias = "Tensor | npt.NDArray[Any]"
InputsLike: TypeAlias = "ArrayLike | Mapping[str, ArrayLike]"
TargetsLike: TypeAlias = "ArrayLike | Sequence[Any]"


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


def as_targets(targets: TargetsLike | None, inputs: Inputs, which: str, task: type[Task]) -> Tensor:
    """The targets (N, ...) beside the inputs, on their device; all without a label for None."""
    first = inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
    return task.as_targets(targets, len(first), which).to(first.device)


def check_alike(sample: Inputs, training: Inputs, which: str) -> None:
    """Refuses a sample whose names, shape or dtype are not those of a training sample."""
    if describe(sample) != describe(training):
        raise LimbeckError(
            f"a {which} sample is {describe(sample)}, but a training sample is {describe(training)}"
        )
