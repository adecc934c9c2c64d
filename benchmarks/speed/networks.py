"""The networks and images that are measured with."""

from __future__ import annotations

import torch
from torch import nn

from limbeck import data, models
from limbeck.data import Source
from limbeck.outputs import Inputs

PAIRS = {
    "resnet32x4 -> resnet8x4": ("resnet32x4", "resnet8x4"),
    "resnet56 -> resnet20": ("resnet56", "resnet20"),
}
"""Teacher and student, as the public benchmarks pair them."""


def noise(size: int, classes: int) -> Source:
    """Random images 32 x 32: a step costs with them what it costs with any others."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (size, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(size) % classes
    return data.from_tensors(
        images, labels, validation=None, num_classes=classes, views="crop(padding=4, flip=true)", name="noise"
    )


def network(
    name: str, images: Inputs, classes: int, normalization: models.Normalization | None = None
) -> nn.Module:
    """A network with its first weights, and batch norms that have seen some images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = models.build(name, example=images, num_classes=classes)
    if normalization is not None:
        models.normalize_inputs(made, normalization)
    norms = [module for module in made.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        made.train()(images)
    for norm in norms:
        norm.momentum = 0.1
    return made.eval()
