"""Noise in the inputs, in five severities.

Images get the kinds and severities of Hendrycks & Dietterich, Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations, ICLR 2019, arXiv:1903.12261, with the constants of their script for
CIFAR (hendrycks/robustness, make_cifar_c.py). Their images are cut to 8 bits in the end; these are not, save
by JPEG.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.data import Source
from limbeck.errors import unknown
from limbeck.hashing import mix
from limbeck.seeds import seed_for

SEVERITIES: Mapping[str, tuple[float, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
    "salt_and_pepper": (0.01, 0.02, 0.03, 0.05, 0.07),  # share of the values set to 0 or 1
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # standard deviation in pixels
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor on the distance to the mean
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to the value of HSV
    "jpeg": (80, 65, 58, 50, 40),  # quality
}
"""What severity 1 to 5 means for each kind."""

FEATURE_NOISE = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Severity 1 to 5 of Gaussian noise on a table, in standard deviations of each feature; limbeck's own."""


Corruption: TypeAlias = "Callable[[Tensor, int, Tensor], Tensor]"
"""Inputs, severity 1 to 5 and the inputs' positions in their data; noisy inputs."""


def corruptions(source: Source, seed: int = 0) -> dict[str, Corruption]:
    """What can be done to a data set's inputs, by kind: all of it to images, Gaussian noise to tables.

    Empty for anything else, and for images that are not pixels in [0, 1].
    """
    example = source.example()
    if source.kind == "table" and source.std:
        return {"gaussian_noise": partial(_feature_noise, seed, torch.tensor(source.std))}
    pixels = isinstance(example, Tensor) and example.min() >= 0 and example.max() <= 1
    if source.kind != "image" or not pixels:
        return {}
    return {kind: partial(_image_noise, seed, kind) for kind in SEVERITIES}


def corrupt(images: Tensor, kind: str, severity: int, index: Tensor, seed: int = 0) -> Tensor:
    """Shows images through one kind of noise.

    What is random is a function of (seed, kind, severity, index) alone: an image looks the same in any batch,
    in any order and on any device.

    Args:
        images: (B, C, H, W) floats in [0, 1], before any normalization.
        kind: name of a corruption, a key of `SEVERITIES`.
        severity: 1 to 5.
        index: (B,) int64 positions of the images in their data.
        seed: random seed of the noise.
    Returns: (B, C, H, W) floats in [0, 1].
    """
    if kind not in SEVERITIES:
        raise unknown("kind of noise", kind, SEVERITIES)
    amount, purpose = SEVERITIES[kind][severity - 1], seed_for(seed, kind, severity)
    if kind == "gaussian_noise":
        return (images + amount * _gaussian(purpose, index, images)).clamp(0, 1)
    if kind == "salt_and_pepper":
        draw = _uniform(purpose, index, images)
        low, high = (mask.to(images.device) for mask in (draw < amount / 2, draw >= 1 - amount / 2))
        return images.masked_fill(low, 0).masked_fill(high, 1)
    if kind == "gaussian_blur":
        return _blurred(images, amount).clamp(0, 1)
    if kind == "contrast":
        mean = images.mean((2, 3), keepdim=True)
        return ((images - mean) * amount + mean).clamp(0, 1)
    if kind == "brightness":
        return _brightened(images, amount)
    return _compressed(images, int(amount))


def _image_noise(seed: int, kind: str, images: Tensor, severity: int, index: Tensor) -> Tensor:
    return corrupt(images, kind, severity, index, seed)


def _feature_noise(seed: int, std: Tensor, features: Tensor, severity: int, index: Tensor) -> Tensor:
    noise = _gaussian(seed_for(seed, "gaussian_noise", severity), index, features)
    return features + FEATURE_NOISE[severity - 1] * std.to(features) * noise


def _uniform(seed: int, index: Tensor, like: Tensor) -> Tensor:
    """Numbers in (0, 1) for each value of each sample, from the seed and the sample's position; on the CPU.

    Not every accelerator has float64, and not all would round alike.
    """
    bits = mix(seed, index.cpu()[:, None], torch.arange(like[0].numel())) >> 11 & 2**53 - 1
    return ((bits.double() + 0.5) / 2**53).view_as(like)


def _gaussian(seed: int, index: Tensor, like: Tensor) -> Tensor:
    noise: Tensor = torch.special.ndtri(_uniform(seed, index, like))
    return noise.to(like)


def _blurred(images: Tensor, deviation: float) -> Tensor:
    """A Gaussian filter, cut off after four deviations, with the edge repeated outwards."""
    reach = int(4 * deviation + 0.5)
    place = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-(place**2) / (2 * deviation**2))
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    rows = F.conv2d(F.pad(images, [reach, reach, 0, 0], "replicate"), kernel, groups=images.shape[1])
    columns = F.pad(rows, [0, 0, reach, reach], "replicate")
    return F.conv2d(columns, kernel.transpose(2, 3), groups=images.shape[1])


def _brightened(images: Tensor, amount: float) -> Tensor:
    """Adds to the value in HSV, the largest channel, and keeps hue and saturation; black becomes gray."""
    value = images.amax(1, keepdim=True)
    brighter = (value + amount).clamp(max=1)
    return torch.where(value > 0, images / value * brighter, brighter)


def _compressed(images: Tensor, quality: int) -> Tensor:
    """JPEG and back; of images that are not RGB, each channel by itself."""
    import numpy as np
    from PIL import Image

    color = images.shape[1] == 3
    planes = images.movedim(1, 3) if color else images.flatten(0, 1)
    pixels = (planes * 255).round().to(torch.uint8).cpu().numpy()
    for place, array in enumerate(pixels):
        file = BytesIO()
        Image.fromarray(array).save(file, "JPEG", quality=quality)
        pixels[place] = np.asarray(Image.open(file))
    shown = torch.from_numpy(pixels).to(images.device)
    return (shown.movedim(3, 1) if color else shown.view(images.shape)).to(images.dtype) / 255
