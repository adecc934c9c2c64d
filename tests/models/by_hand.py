"""Layers as functions of a state dict, to write a network down once more."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor


def conv(maps: Tensor, weights: Mapping[str, Tensor], path: str, stride: int = 1) -> Tensor:
    """Padded to keep the size; the weights tell kernel, groups and bias."""
    kernel = weights[f"{path}.weight"]
    groups, padding = maps.shape[1] // kernel.shape[1], (kernel.shape[2] - 1) // 2
    return F.conv2d(maps, kernel, weights.get(f"{path}.bias"), stride, padding, groups=groups)


def norm(maps: Tensor, weights: Mapping[str, Tensor], path: str) -> Tensor:
    """In eval mode."""
    mean, variance, scale, shift = (
        weights[f"{path}.{name}"][:, None, None] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return (maps - mean) / (variance + 1e-5).sqrt() * scale + shift


def linear(vectors: Tensor, weights: Mapping[str, Tensor], path: str) -> Tensor:
    return vectors @ weights[f"{path}.weight"].T + weights[f"{path}.bias"]
