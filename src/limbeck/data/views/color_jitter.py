"""Images in other light."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.data.views.policy import Views, check_bank, images_in
from limbeck.errors import LimbeckError
from limbeck.hashing import below
from limbeck.outputs import Inputs

_SALT = 0x636F6C  # no other hash of an index and a view starts with it


@dataclass(frozen=True)
class ColorJitter(Views):
    """`color_jitter(brightness=0.4, contrast=0.4, saturation=0.4, count=1024)`: an image in other light.

    Brightness, contrast and saturation are changed in this order, each by a factor between 1 - s and 1 + s:
    towards black, the image's mean gray, and its own gray. View 0 is the image as it is. The arithmetic uses
    whole numbers, so a view is the same to the bit on every device.

    Args:
        brightness: s of the brightness, between 0 and 1.
        contrast: s of the contrast, between 0 and 1.
        saturation: s of the saturation, between 0 and 1.
        count: how many views of an image there are.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    count: int = 1024

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            strength = getattr(self, name)
            if type(strength) not in (int, float) or not 0 <= strength <= 1:
                raise LimbeckError(f"color_jitter needs {name} between 0 and 1, not {strength!r}")
        check_bank("color_jitter", self.count)

    def render(self, inputs: Inputs, index: Tensor, view: Tensor) -> Inputs:
        """Changes the light; (B, 1 or 3, H, W) uint8."""
        images = images_in(inputs, self)
        if images.dtype != torch.uint8 or images.shape[1] not in (1, 3):
            raise LimbeckError(f'the views "{self}" need uint8 images of 1 or 3 channels')
        factors = [
            _factor(strength, part, index, view)
            for part, strength in enumerate((self.brightness, self.contrast, self.saturation))
        ]
        shown = images.int()
        shown = _blend(shown, torch.zeros_like(shown), factors[0])
        mean = _gray(shown).flatten(1).long().sum(1) // (shown.shape[2] * shown.shape[3])
        shown = _blend(shown, mean.int()[:, None, None, None], factors[1])
        return _blend(shown, _gray(shown), factors[2]).to(torch.uint8)

    def __str__(self) -> str:
        return (
            f"color_jitter(brightness={self.brightness}, contrast={self.contrast},"
            f" saturation={self.saturation}, count={self.count})"
        )


def _factor(strength: float, part: int, index: Tensor, view: Tensor) -> Tensor:
    """(B, 1, 1, 1) int32 in 256ths."""
    steps = round(256 * strength)
    drawn = 256 - steps + below(2 * steps + 1, _SALT, part, index, view)
    return drawn.where(view != 0, 256).int()[:, None, None, None]


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """The images moved away from others, or towards them; int32 in [0, 255]."""
    return ((factor * images + (256 - factor) * other + 128) >> 8).clamp(0, 255)


def _gray(images: Tensor) -> Tensor:
    """(B, 1, H, W) int32 luma of ITU-R BT.601."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16)[:, None]
