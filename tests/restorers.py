"""Small networks that double images, and a batch for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.outputs import Batch


class Doubling(nn.Module):
    """(B, 1, H, W) to (B, 1, 2 H, 2 W): two convolutions with a tanh between, and a shuffle of pixels."""

    def __init__(self, width: int, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Conv2d(1, width, 3, padding=1)
            self.head = nn.Conv2d(width, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return F.pixel_shuffle(self.head(self.body(images).tanh()), 2)

    @staticmethod
    def feature_points() -> dict[str, str | list[str]]:
        return {"embedding": "head:input", "stages": ["body"]}


def batch_of(samples: int = 4, seed: int = 0) -> Batch:
    """Images (B, 1, 6, 6) with targets twice as large, of which some pixels and one image do not count."""
    draw = torch.Generator().manual_seed(seed)
    images = torch.rand(samples, 1, 6, 6, generator=draw, dtype=torch.float64)
    targets = torch.randint(256, (samples, 1, 12, 12), generator=draw)
    targets[0, :, :, 8:] = -1
    targets[1] = -1
    return Batch(images, targets, index=torch.arange(samples))
