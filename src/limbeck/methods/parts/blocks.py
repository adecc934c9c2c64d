"""Small parts that several methods share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import unknown
from limbeck.outputs import Progress
from limbeck.outputs import full_precision as full_precision

Reduction = Literal["mean", "none"]
Form = Literal["benchmark", "paper"]
"""Where the CRD benchmark's implementation is another equation than the paper's: which of the two."""


def reduce(per_sample: Tensor, reduction: Reduction) -> Tensor:
    """The batch mean of (B,) values, or the values as they are.

    Raises:
        LimbeckError: for an unknown reduction.
    """
    if reduction not in get_args(Reduction):
        raise unknown("reduction", reduction, get_args(Reduction))
    return per_sample.mean() if reduction == "mean" else per_sample


def centered(rows: Tensor) -> Tensor:
    """(..., N) less the mean of the last axis; zero, without gradient, where that leaves rounding errors."""
    result = rows - rows.mean(-1, keepdim=True)
    rounding = 4 * torch.finfo(rows.dtype).eps * rows.abs().amax(-1, keepdim=True)
    return result.where(result.abs().amax(-1, keepdim=True) > rounding, 0)


def unit(tensor: Tensor, dim: int | tuple[int, ...] = 1) -> Tensor:
    """The vectors along `dim` at unit length; zero stays zero, with no gradient (F.normalize's is 1e12)."""
    length: Tensor = torch.linalg.vector_norm(tensor, dim=dim, keepdim=True)
    return tensor / length.where(length > 0, math.inf)


def risen(progress: Progress | None, warmup: float) -> float:
    """Share of its weight that a loss has while it rises over `warmup` epochs; 1/warmup in the first."""
    if not warmup:
        return 1.0
    assert progress is not None
    return min((progress.epoch + 1) / warmup, 1.0)


def alone() -> bool:
    """Whether this is the only process."""
    return not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1


def processes() -> int:
    """How many processes there are."""
    return 1 if alone() else dist.get_world_size()


def gather(tensor: Tensor) -> Tensor:
    """The rows (B_r, ...) of all processes in the order of their ranks, with gradient; its own without any.

    A loss over the gathered rows, computed alike by every process, has one process's value everywhere, and
    DistributedDataParallel's averaging makes its gradient that of one process with the whole batch. The
    processes' row counts may differ.
    """
    if alone():
        return tensor
    rows: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
    return rows


def places(rows: int, device: torch.device) -> range:
    """Where this process's own rows are in what `gather` gives.

    Args:
        rows: how many this process has.
        device: of the rows.
    """
    if alone():
        return range(rows)
    counts = gather(torch.tensor([rows], device=device)).tolist()
    start = sum(counts[: dist.get_rank()])
    return range(start, start + rows)


def averaged(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The means over all processes of tensors that have the same shapes in each, without gradient."""
    if alone() or not tensors:
        return list(tensors)
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    parts = torch.split(flat / processes(), [tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        count = torch.tensor([len(tensor)], device=tensor.device)
        counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, count)
        sizes = [int(size) for size in counts]
        padded = F.pad(tensor.contiguous(), [0, 0] * (tensor.dim() - 1) + [0, max(sizes) - len(tensor)])
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        ctx.start, ctx.rows = sum(sizes[: dist.get_rank()]), len(tensor)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].contiguous().clone()
        dist.all_reduce(whole)
        return whole[ctx.start : ctx.start + ctx.rows]
