"""The policies that a search chooses among: the parameters of the views, each with its range and step."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from limbeck.data.source import Source
from limbeck.data.views import Composed, Unchanged, Views
from limbeck.data.views.color_jitter import ColorJitter
from limbeck.data.views.crop import Crop
from limbeck.data.views.cutout import Cutout
from limbeck.data.views.randaugment import RandAugment
from limbeck.errors import LimbeckError

COUNT = 32
"""Views of an image that each of cutout, color_jitter and randaugment has."""


@dataclass(frozen=True)
class Range:
    """The values `low`, `low + step`, ... up to `high`."""

    low: float
    high: float
    step: float

    @property
    def values(self) -> tuple[float, ...]:
        """All of them, in order."""
        return tuple(
            round(self.low + number * self.step, 6)
            for number in range(1 + int((self.high - self.low) / self.step + 1e-6))
        )


Values = Mapping[str, float]
"""A policy as its parameters, such as {"crop.padding": 2, "cutout.size": 0}; 0 leaves a part out."""


def space(source: Source) -> dict[str, Range]:
    """The parameters that can be chosen for these images, by name.

    Crops and squares are measured by the shorter side of an image. What changes colors is for uint8 images
    of 1 or 3 channels alone, and `randaugment` is there if torchvision is.

    Raises:
        LimbeckError: for data that are no images.
    """
    index = source.train.index[:1]
    images = source.train.samples.take(index, torch.zeros_like(index))
    if not isinstance(images, torch.Tensor) or images.ndim != 4:
        raise LimbeckError(f"{source.name} holds no images, and the views that can be searched need them")
    channels, side = images.shape[1], min(images.shape[2:])
    found = {
        "crop.padding": Range(0, min(8, max(1, side // 8)), 1),
        "cutout.size": Range(0, side // 2, max(1, side // 16)),
    }
    if images.dtype == torch.uint8 and channels in (1, 3):
        light = ("brightness", "contrast", "saturation") if channels == 3 else ("brightness", "contrast")
        found |= {f"color_jitter.{name}": Range(0, 0.8, 0.1) for name in light}
        if importlib.util.find_spec("torchvision"):
            found |= {"randaugment.operations": Range(0, 3, 1), "randaugment.magnitude": Range(0, 30, 3)}
    return found


def mirrored(views: Views) -> bool:
    """Whether a policy shows mirror images: a search leaves that as the data has it."""
    parts = views.parts if isinstance(views, Composed) else (views,)
    return any(isinstance(part, Crop) and part.flip for part in parts)


def policy(values: Values, *, mirror: bool) -> Views:
    """The policy that parameters stand for: operations and light, then crops, then cutout."""
    given: dict[str, dict[str, float]] = {}
    for key, value in values.items():
        name, parameter = key.split(".")
        given.setdefault(name, {})[parameter] = value
    parts: list[Views] = []
    operations = {name: int(value) for name, value in given.get("randaugment", {}).items()}
    if operations.get("operations") and operations["magnitude"]:
        parts.append(RandAugment(**operations, count=COUNT))
    light = given.get("color_jitter", {})
    if any(light.values()):
        parts.append(ColorJitter(**{"saturation": 0, **light}, count=COUNT))
    padding, size = int(given["crop"]["padding"]), int(given["cutout"]["size"])
    if padding or mirror:
        parts.append(Crop(padding, mirror))
    if size:
        parts.append(Cutout(size, count=COUNT))
    return Composed(tuple(parts)) if len(parts) > 1 else parts[0] if parts else Unchanged()
