"""Logits that are not computed yet: what enters a network's last layer, and that layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

SCORES = 1 << 22
"""Logits that are computed or looked at together: 16 MiB in float32."""


@dataclass(frozen=True)
class Projection:
    """Logits of rows, computed when they are asked for.

        logits = c tanh(s (W h + b) / c),  or s (W h + b) without a cap

    Of a language model they are by far the largest tensor: 2,048 tokens of a vocabulary of 49,152 are 403 MB
    in float32, while what enters the last layer is 5 MB where it is 576 wide.

    Attributes:
        hidden: (..., D) h, what enters the layer.
        weight: (C, D) W.
        bias: (C,) b, or None.
        scale: s.
        softcap: c > 0, or None.
        dtype: the precision that the layer computes in, such as that of autocast.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    scale: float
    softcap: float | None
    dtype: torch.dtype

    @property
    def width(self) -> int:
        """C, how many logits a row has."""
        return len(self.weight)

    def map(self, function: Callable[[Tensor], Tensor]) -> Projection:
        """The projection with `function` applied to what enters the layer, such as a choice of rows."""
        return replace(self, hidden=function(self.hidden))

    def cut(self, width: int) -> Projection:
        """The projection to the first `width` logits, where a head has more of them than a vocabulary."""
        if width == self.width:
            return self
        bias = None if self.bias is None else self.bias[:width]
        return replace(self, weight=self.weight[:width], bias=bias)

    def raw(self, hidden: Tensor) -> Tensor:
        """(..., C) W h + b, in the precision of the layer."""
        bias = None if self.bias is None else self.bias.to(self.dtype)
        return F.linear(hidden.to(self.dtype), self.weight.to(self.dtype), bias)

    def finished(self, raw: Tensor) -> Tensor:
        """The logits of `raw`, in float32 at least."""
        logits = raw.to(torch.promote_types(raw.dtype, torch.float32))
        logits = logits if self.scale == 1 else logits * self.scale
        return logits if self.softcap is None else self.softcap * (logits / self.softcap).tanh()

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """(P, C) the logits of some rows; all of them for `[:]`."""
        return self.finished(self.raw(self.hidden[rows]))

    def __len__(self) -> int:
        return len(self.hidden)
