"""Small detectors, and a batch for them."""

from __future__ import annotations

import math

import torch

from limbeck.models.fcos import FCOS
from limbeck.outputs import Batch, Progress
from limbeck.tasks import Detection

TASK = Detection(("cat", "dog"))


def detector(width: int = 4, seed: int = 0, levels: int = 2) -> FCOS:
    """A detector for two classes with pyramids of strides 8 and 16."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return FCOS([width, width, width], levels=levels, width=width, in_channels=3, num_classes=3)


def boxed_batch(step: int = 0) -> Batch:
    """Four images of 32 x 48: with two boxes, with one, with none, and one whose boxes are not known."""
    targets = torch.zeros(4, 2, 5)
    targets[..., 4] = -1
    targets[0] = torch.tensor([[2.0, 3, 20, 19, 0], [25, 10, 45, 30, 1]])
    targets[1, 0] = torch.tensor([4.0, 6, 17, 21, 1])
    targets[3] = math.nan
    images = torch.rand(4, 3, 32, 48, generator=torch.Generator().manual_seed(5))
    return Batch(images, targets, index=torch.arange(4), progress=Progress(step))
