"""Small networks that label pixels, and a batch for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.outputs import Batch


class Strided(nn.Module):
    """(B, 2, H, W) to the maps (B, 3, H / stride, W / stride) of a convolution and a 1x1 head."""

    def __init__(self, width: int, stride: int, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Conv2d(2, width, stride, stride)
            self.head = nn.Conv2d(width, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(images).tanh())
        return logits

    @staticmethod
    def feature_points() -> dict[str, str | list[str]]:
        return {"embedding": "head:input", "stages": ["body"]}


class TwoHeads(nn.Module):
    """Two of them in float64, of which the second is an auxiliary head."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        self.main, self.other = Strided(width, 2, seed).double(), Strided(width, 2, seed + 10).double()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": self.main(images), "aux": self.other(images)}

    @staticmethod
    def feature_points() -> dict[str, str | list[str]]:
        return {"embedding": "main.head:input", "stages": ["main.body"]}


def batch_of(samples: int = 4, seed: int = 0) -> Batch:
    """Images (B, 2, 8, 8) with class maps, of which a third does not count, and one image not at all."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(samples, 2, 8, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (samples, 8, 8), generator=generator)
    targets[torch.rand(samples, 8, 8, generator=generator) < 1 / 3] = 255
    targets[1] = 255
    return Batch(images, targets, index=torch.arange(samples))
