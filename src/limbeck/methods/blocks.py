"""Small parts that several methods share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["mean", "none"]


def full_precision(tensor: Tensor) -> Tensor:
    """The tensor in float32 if it is of a shorter float type; losses are never computed in half precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def reduce(per_sample: Tensor, reduction: Reduction) -> Tensor:
    """The batch mean of (B,) values, or the values as they are."""
    return per_sample.mean() if reduction == "mean" else per_sample
