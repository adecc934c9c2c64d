"""Scans that are easily told apart, and IDX files of them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import torch
from torch import Tensor


def idx_bytes(tensor: Tensor) -> bytes:
    """A uint8 tensor as an IDX file holds it."""
    header = struct.pack(f">BBBB{tensor.ndim}I", 0, 0, 8, tensor.ndim, *tensor.shape)
    return header + tensor.contiguous().numpy().tobytes()


def write_mnist(
    folder: Path, scans: Tensor, digits: Tensor, prefix: str = "t10k", zipped: bool = True
) -> None:
    """Writes scans (N, H, W) and digits (N,) under MNIST's names."""
    for name, tensor in ((f"{prefix}-images-idx3-ubyte", scans), (f"{prefix}-labels-idx1-ubyte", digits)):
        content = idx_bytes(tensor)
        file = folder / (name + ".gz" * zipped)
        file.write_bytes(gzip.compress(content) if zipped else content)


def some_scans(each: int = 20) -> tuple[Tensor, Tensor]:
    """Scans 12x12 of the ten digits, ink in rows 2 to 9 and columns 3 to 9, no two of the same brightness."""
    shown = torch.arange(10, dtype=torch.uint8).repeat_interleave(each)
    scans = torch.zeros(10 * each, 12, 12, dtype=torch.uint8)
    scans[:, 2:10, 3:10] = torch.arange(5, 5 + 10 * each, dtype=torch.uint8)[:, None, None]
    return scans, shown
