"""What a pure function refuses: shapes and dtypes that torch would misread, and words that are unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
from torch import Tensor

from limbeck.errors import LimbeckError, unknown


def class_logits(method: str, **logits: Tensor) -> None:
    """Refuses logits that are not rows (P, C) of at least 2 classes; a softmax takes any axis.

    Args:
        method: name of the function, for the message.
        logits: by the names of the function's arguments.
    """
    for name, tensor in logits.items():
        floating(method, name, tensor)
        if tensor.ndim != 2:
            if tensor.ndim < 2:
                remedy = f"the logits of one prediction are {name}.unsqueeze(0)"
            else:
                remedy = (
                    f"flatten it: {name}.movedim(1, -1).flatten(0, -2) where axis 1 holds the classes, "
                    f"{name}.flatten(0, -2) where the last one does"
                )
            raise _misshapen(method, name, tensor, "(P, C), a row of logits for each prediction", remedy)
        if tensor.shape[1] < 2:
            remedy = (
                "write the single logit z of a yes-or-no question as torch.cat([torch.zeros_like(z), z], 1)"
            )
            raise _misshapen(method, name, tensor, "(P, C) with at least 2 classes C", remedy)


def word(method: str, argument: str, value: str, known: object) -> None:
    """Refuses a word that an argument does not know.

    Args:
        method: name of the function, for the message.
        argument: name of the argument.
        value: what was given.
        known: the `Literal` of the words there are.
    """
    if value not in get_args(known):
        raise unknown(f"{argument} of {method}", value, get_args(known))


def class_ids(method: str, logits: Tensor, targets: Tensor) -> None:
    """Refuses targets that are not one class id for each row of the logits."""
    if targets.ndim != 1:
        wanted = "(P,), a class id for each row of the logits"
        raise _misshapen(method, "targets", targets, wanted, "flatten it like the logits: targets.flatten()")
    if targets.dtype != torch.int64:
        raise LimbeckError(
            f"{method}: targets must be class ids of dtype torch.int64, not {targets.dtype}; "
            "write targets.long() if the numbers are class ids"
        )
    same_samples(method, logits, targets)


def same_logits(method: str, student: Tensor, teacher: Tensor) -> None:
    """Refuses logits that are no rows (P, C), or of two shapes; torch would stretch one row over all."""
    class_logits(method, student_logits=student)
    if student.shape != teacher.shape:
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise LimbeckError(f"{method} compares logits of one shape, not {shapes}")
    floating(method, "teacher_logits", teacher)


def same_classes(method: str, logits: Tensor, known: Tensor) -> None:
    """Refuses what is not a truth value for each of the logits (P, C)."""
    if known.shape != logits.shape or known.dtype != torch.bool:
        raise LimbeckError(
            f"{method}: known must be a truth value for each class of each row, bool of shape "
            f"{tuple(logits.shape)}, not {known.dtype} of shape {tuple(known.shape)}"
        )


def vectors(method: str, **tensors: Tensor) -> None:
    """Refuses what is not rows (P, D), by the names of the function's arguments."""
    for name, tensor in tensors.items():
        floating(method, name, tensor)
        if tensor.ndim != 2:
            if tensor.ndim < 2:
                remedy = f"a single vector is {name}.unsqueeze(0)"
            else:
                remedy = (
                    f"flatten it: {name}.flatten(1) is a vector for each sample, {name}.flatten(0, -2) one "
                    "for each position where the last axis holds the vectors"
                )
            raise _misshapen(method, name, tensor, "(P, D), a vector for each row", remedy)


def sample_wise(method: str, **tensors: Tensor) -> None:
    """Refuses what has no axis beside that of the samples, by the names of the function's arguments."""
    for name, tensor in tensors.items():
        floating(method, name, tensor)
        if tensor.ndim < 2:
            remedy = f"a number for each sample is {name}.unsqueeze(1)"
            raise _misshapen(method, name, tensor, "(B, ...), which is flattened for each sample", remedy)


STAGES = {2: "vectors (B, D)", 3: "hidden states (B, L, D)", 4: "maps (B, C, H, W)"}
"""What the output of a stage may be, by its number of axes."""


def stage_like(method: str, kinds: Sequence[int], **tensors: Tensor) -> None:
    """Refuses what is no output of a stage.

    Args:
        method: name of the function, for the message.
        kinds: numbers of axes that it takes, of `STAGES`.
        tensors: by the names of the function's arguments.
    """
    for name, tensor in tensors.items():
        floating(method, name, tensor)
        if tensor.ndim not in kinds:
            wanted = " or ".join(STAGES[kind] for kind in kinds)
            axes = "unsqueeze() adds an axis and flatten() joins two"
            raise _misshapen(method, name, tensor, f"of {wanted}", axes)


def token_mask(method: str, stage: Tensor, mask: Tensor | None) -> None:
    """Refuses a mask that is not (B, L) truth values, or is for something else than hidden states."""
    if mask is not None and (stage.ndim != 3 or mask.shape != stage.shape[:2]):
        raise LimbeckError(
            f"{method}: mask has the shape {tuple(mask.shape)}, and is for hidden states (B, L, D) of whose "
            f"tokens (B, L) it says which are valid, not for {tuple(stage.shape)}; leave it out for maps"
        )
    if mask is not None and mask.dtype != torch.bool:
        raise LimbeckError(f"{method}: mask must hold truth values, not {mask.dtype}; write mask.bool()")


def floating(method: str, name: str, tensor: Tensor) -> None:
    """Refuses integers and truth values, and what is no tensor."""
    if not isinstance(tensor, Tensor):
        raise LimbeckError(f"{method}: {name} must be a tensor, not {tensor!r:.40}")
    if not tensor.is_floating_point():
        raise LimbeckError(
            f"{method}: {name} must hold floating-point numbers, not {tensor.dtype}; write {name}.float()"
        )


def _misshapen(method: str, name: str, tensor: Tensor, wanted: str, remedy: str) -> LimbeckError:
    shape = tuple(tensor.shape)
    return LimbeckError(f"{method}: {name} has the shape {shape} and must have the shape {wanted}; {remedy}")


def same_samples(method: str, *tensors: Tensor) -> None:
    """Refuses tensors of different numbers of samples; torch would stretch one over all."""
    counts = dict.fromkeys(str(len(tensor)) for tensor in tensors)
    if len(counts) > 1:
        raise LimbeckError(f"{method} compares the same samples, not {' and '.join(counts)} of them")
