"""What a user's tensors must be to become a source; the errors say what is wrong, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
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
    """The inputs as tensors: as many samples in each, at least one, and all numbers finite.

    Floats become float32, as networks are.
    """
    given = inputs if isinstance(inputs, Mapping) else {"": inputs}
    tensors = {name: _as_input(array, f"{which} inputs {name}".strip()) for name, array in given.items()}
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


def _as_input(array: Any, what: str) -> Tensor:
    try:
        tensor = torch.as_tensor(_values(array))
    except (TypeError, ValueError, RuntimeError) as error:
        raise LimbeckError(f"the {what} should be tensors or arrays of numbers: {error}") from None
    if tensor.layout is not torch.strided:
        raise LimbeckError(f"the {what} are sparse, which networks do not take; give inputs.to_dense()")
    tensor = tensor.detach()
    if tensor.dtype == torch.float64:
        check_precision(tensor, what)
    return tensor.float() if tensor.is_floating_point() else tensor


def _values(array: Any) -> Any:
    """A copy of the array in a data frame or a series of pandas and the like, which may be read-only."""
    return np.array(array.to_numpy()) if hasattr(array, "to_numpy") else array


def check_precision(values: Tensor, what: str, columns: Sequence[str] = ()) -> None:
    """Refuses columns of float64 numbers whose differences are lost in float32, such as times in seconds.

    Args:
        values: (N, F, ...) float64.
        what: they are, for the message.
        columns: their names; numbers if there are none.
    """
    if values.ndim < 2:
        return
    for column, lost in enumerate(_lost_in_float32(values)):
        if lost:
            raise LimbeckError(
                f"the {what} lose their differences in column {repr(columns[column]) if columns else column}"
                " when they become float32, as networks take them; subtract the mean of the column first"
            )


def offsets(values: Tensor) -> Tensor:
    """What to subtract from each column, so that its differences are kept in float32; 0 where they are.

    Args:
        values: (N, F) float64.
    Returns: (F,) float64, whole numbers.
    """
    lost = torch.tensor(_lost_in_float32(values))
    return torch.where(lost, values.mean(0).round(), 0.0)


def _lost_in_float32(values: Tensor) -> list[bool]:
    """For each column, whether rounding to float32 moves a number by over a thousandth of their deviation."""
    lost = []
    for column in values.unbind(1):
        known = column[column.isfinite()]
        moved = (known.float().double() - known).abs()
        deviation = float(known.std(correction=0)) if len(known) else 0.0
        lost.append(deviation > 0 and float(moved.max()) > 1e-3 * deviation)
    return lost


def as_weights(weights: TargetsLike, size: int, places: Callable[[int], str] = "sample {}".format) -> Tensor:
    """(N,) float32 how much each training sample counts.

    Args:
        weights: a tensor, an array or a sequence of numbers.
        size: N, how many training samples there are.
        places: what messages call the one at a position.
    Raises:
        LimbeckError: for another number of weights, one that is negative, NaN or infinite, and if all are 0.
    """
    try:
        found = torch.as_tensor(_values(weights)).double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise LimbeckError(f"the weights should be numbers, one for each training sample: {error}") from None
    if found.shape != (size,):
        raise LimbeckError(
            f"the weights should be one number for each of {size} training samples, not {tuple(found.shape)}"
        )
    right = (found >= 0) & (found <= torch.finfo(torch.float32).max)
    if not right.all():
        place = int(right.logical_not().nonzero()[0])
        raise LimbeckError(
            f"the weight of {places(place)} is {found[place]:g}; a weight is a finite number of at least 0"
        )
    if not found.any():
        raise LimbeckError("all weights of the training samples are 0, so there is nothing to learn")
    return found.float()


def as_targets(targets: TargetsLike | None, inputs: Inputs, which: str, task: type[Task]) -> Tensor:
    """The targets (N, ...) beside the inputs, on their device; all without a label for None."""
    first = inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
    given = _values(targets)
    if task.scores == "values":
        keeps_differences(given, which)
    return task.as_targets(given, len(first), which).to(first.device)


def keeps_differences(targets: Any, which: str) -> None:
    """Refuses values that differ less than float32 can tell; what are no numbers is for the task to refuse.

    Args:
        targets: (N,) or (N, K), a tensor, an array or a sequence; None for none.
        which: "training", "validation" or "test".
    """
    try:
        values = torch.as_tensor(targets if isinstance(targets, Tensor) else np.asarray(targets))
    except (TypeError, ValueError, RuntimeError):
        return
    if values.ndim in (1, 2) and values.dtype in (torch.float64, torch.int64):
        check_precision(values.double().reshape(len(values), -1), f"{which} targets")


def check_alike(sample: Inputs, training: Inputs, which: str, *, any_size: bool = False) -> None:
    """Refuses a sample whose names, shape or dtype are not those of a training sample.

    Args:
        sample: a batch of one.
        training: a batch of one.
        which: the split of the sample, "validation" or "test".
        any_size: whether images may have another height and width.
    """
    ours, theirs = sample, training
    if any_size and isinstance(sample, Tensor) and isinstance(training, Tensor):
        ours, theirs = sample[..., :1, :1], training[..., :1, :1]
    if describe(ours) != describe(theirs):
        raise LimbeckError(
            f"a {which} sample is {describe(sample)}, but a training sample is {describe(training)}"
        )
