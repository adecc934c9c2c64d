"""What a Distiller refuses of a batch: one without what a method reads, wrong targets and weights."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.checks.network import callable_with
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method, inner_first
from limbeck.methods.declarations import Reads
from limbeck.outputs import Batch
from limbeck.tasks import Task


def batch_complete(batch: Batch, reads: Reads, objective: Method) -> None:
    """Refuses a batch that lacks what a method reads, or where a sample lacks its part."""
    callable_with("the inputs of a batch", batch.inputs)
    for name in reads.batch:
        if getattr(batch, name) is None:
            users = [method.name for method in inner_first(objective) if name in method.reads.batch]
            how = "call distiller.progress(...) before each step" if name == "progress" else f"give {name}="
            who = " and ".join(users) or "a phase"
            verb = "need" if len(users) > 1 else "needs"
            raise LimbeckError(f"{who} {verb} the {name} of the batch; {how}")
    for method in inner_first(objective):
        if (batch.total or len(batch)) < method.min_samples:
            raise LimbeckError(
                f"{method.name} compares samples and needs at least {method.min_samples} in a batch, "
                f"not {len(batch)}"
            )
    for name in reads.views:
        if name not in batch.views:
            raise LimbeckError(f"the objective reads a further view {name!r} of each sample; give views=")
    if reads.makes_for_student and batch.teacher_inputs:
        other, made = next(iter(batch.teacher_inputs)), ", ".join(reads.makes_for_student)
        raise LimbeckError(
            f"further views ({made}) are made of what the student reads, and {other} reads "
            "another preparation of the samples; give both networks one size"
        )
    for name in ("index", "view"):
        tensor: Tensor | None = getattr(batch, name)
        if tensor is not None and (tensor.dtype, tensor.shape) != (torch.int64, (len(batch),)):
            raise LimbeckError(
                f"the {name} of a batch of {len(batch)} must be int64 of shape ({len(batch)},), "
                f"not {str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
            )


def weights(given: object, size: int) -> None:
    """Refuses weights of a batch of `size` samples that are no (B,) of finite numbers from 0.

    On an accelerator their values are not looked at: it would be waited for.
    """
    if not isinstance(given, Tensor) or not given.is_floating_point() or given.shape != (size,):
        what = type(given).__name__
        if isinstance(given, Tensor):
            what = f"{str(given.dtype).removeprefix('torch.')} of shape {tuple(given.shape)}"
        raise LimbeckError(f"the weights of a batch of {size} must be floats of shape ({size},), not {what}")
    if given.device.type == "cpu" and not ((given >= 0) & given.isfinite()).all():
        place = int(((given >= 0) & given.isfinite()).logical_not().nonzero()[0])
        raise LimbeckError(
            f"the weight at position {place} of a batch is {given[place]:g}; a weight is a finite number of "
            "at least 0"
        )


def can_weigh(objective: Method, task: type[Task] | Task) -> None:
    """Refuses weights of samples for a method that fits labels without them, and for a task whose samples
    have different numbers of decisions."""
    for method in inner_first(objective):
        if (method.fits_labels or method.kind == "task") and not method.weighs:
            raise LimbeckError(
                f"the samples have weights, and what {method.name} learns from labels takes none; use ce, "
                "label_smoothing or focal for classes, mse, mae or huber for values, or leave the weights out"
            )
    if not task.even:
        raise LimbeckError(
            f"samples have weights where each has as many decisions, and in {task.name} they have different "
            "numbers of them; leave the weights out"
        )


def targets_given(targets: object) -> None:
    """Refuses targets that are no tensor."""
    if not isinstance(targets, Tensor | None):
        kind = type(targets).__name__
        raise LimbeckError(f"the targets should be a tensor, not {kind}; use torch.as_tensor(targets)")


def targets_in_range(targets: Tensor, task: Task) -> None:
    """Refuses targets that are none of the task's; costs a look at the values."""
    try:
        task.check(targets, "batch's")
    except LimbeckError as error:
        raise LimbeckError(f"{error}; the student has {task.width} outputs") from None
