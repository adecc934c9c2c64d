"""What the losses over values, those of regression, share."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.parts.blocks import full_precision

Distance = Literal["mse", "huber", "l1"]


def same_values(method: str, *tensors: Tensor) -> None:
    """Refuses values that are not (B, K), and different shapes; torch would stretch one over the other."""
    first, *rest = tensors
    if first.ndim != 2 or any(other.shape != first.shape for other in rest):
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise LimbeckError(f"{method} compares values of one shape, (B, K), not {shapes}")


def difference(student: Tensor, targets: Tensor) -> Tensor:
    """(B, K) student less targets, in float32 at least; zero, without gradient, where a target is NaN."""
    targets = full_precision(targets)
    return torch.where(targets.isnan(), 0, full_precision(student) - targets)


def distance(difference: Tensor, loss: Distance, delta: float = 1.0) -> Tensor:
    """(B,) mean over the values of a row of what a difference costs; `delta` is the one of "huber"."""
    zero = torch.zeros_like(difference)
    if loss == "huber":
        return F.huber_loss(difference, zero, reduction="none", delta=delta).mean(1)
    return (difference.square() if loss == "mse" else difference.abs()).mean(1)
