"""PSNR and SSIM of images, as papers on super-resolution give them: of the luma, without the borders."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PEAK = 255.0
"""The largest level of an image."""

_WINDOW, _SIGMA = 11, 1.5
"""Of the SSIM: pixels a side of its Gaussian window, and the standard deviation of it."""


def luma(images: Tensor) -> Tensor:
    """Y of the Y'CbCr of ITU-R BT.601, in 16 to 235 and not rounded; gray images as they are.

    Args:
        images: (..., C, H, W) levels from 0 to 255, C being 3 for RGB or 1 for gray.
    Returns: (..., H, W) float64.
    """
    exact = images.double()
    if images.shape[-3] == 1:
        return exact[..., 0, :, :]
    shares = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=images.device) / PEAK
    return 16 + (exact * shares[:, None, None]).sum(-3)


def cropped(image: Tensor, border: int) -> Tensor:
    """An image (H, W) without so many pixels at each side; the image itself where nothing would be left."""
    inside = image[border : image.shape[0] - border, border : image.shape[1] - border]
    return inside if inside.numel() else image


def psnr(image: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(255^2 / mean squared error); infinite for equal images.

    Args:
        image: (H, W) levels from 0 to 255.
        target: the same shape.
    """
    error = float((image.double() - target.double()).square().mean())
    return 10 * math.log10(PEAK**2 / error) if error else math.inf


def ssim(image: Tensor, target: Tensor) -> float:
    """Structural similarity. Wang et al., IEEE Transactions on Image Processing 13, 2004.

    The mean over all places at which its window, a Gaussian of 11 x 11 pixels with a standard deviation of
    1.5, lies in the image; with the constants K1 = 0.01 and K2 = 0.03.

    Args:
        image: (H, W) levels from 0 to 255.
        target: the same shape.
    Returns: at most 1; NaN for images in which no window fits.
    """
    if min(image.shape) < _WINDOW:
        return math.nan
    distance = torch.arange(_WINDOW, dtype=torch.float64, device=image.device) - _WINDOW // 2
    line = (-0.5 * (distance / _SIGMA).square()).exp()
    line = line / line.sum()
    x, y = image.double(), target.double()
    planes = torch.stack((x, y, x * x, y * y, x * y))[:, None]
    means = F.conv2d(F.conv2d(planes, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))[:, 0]
    mean_x, mean_y, square_x, square_y, product = means
    first, second = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    variances = square_x - mean_x**2 + square_y - mean_y**2
    covariance = product - mean_x * mean_y
    likeness = (2 * mean_x * mean_y + first) / (mean_x**2 + mean_y**2 + first)
    return float((likeness * (2 * covariance + second) / (variances + second)).mean())
