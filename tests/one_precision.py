"""Training that computes in float32 on every processor, so that the same values are right on all of them."""

from __future__ import annotations

import torch

able = torch.cpu.get_capabilities


def without_half() -> dict[str, object]:
    """What the processor can do, without products of bfloat16."""
    return {**able(), "amx_bf16": False, "avx512_bf16": False}
