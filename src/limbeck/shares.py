"""Tensors of which each process has a share, as torch's DTensor says it."""

from __future__ import annotations

from torch import Tensor


def here(tensor: Tensor) -> Tensor:
    """The memory that this process has of a tensor, detached: its share of a sharded one, or all of it."""
    tensor = tensor.detach()
    share: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return share
