"""Facts read off the inputs of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs, named

Kind: TypeAlias = Literal["image", "table", "text", "other"]


def kind_of(inputs: Inputs) -> Kind:
    """What the inputs are, by their shape and dtype.

    Raises:
        LimbeckError: where a network would stumble over them, naming the shape they should have.
    """
    if not isinstance(inputs, Tensor):
        return "text"
    shape = f"{tuple(inputs.shape)} {str(inputs.dtype).removeprefix('torch.')}"
    if inputs.ndim == 4 and (inputs.dtype == torch.uint8 or inputs.is_floating_point()):
        if inputs.shape[1] > 4 >= inputs.shape[3]:
            raise LimbeckError(
                f"images should be (N, channels, height, width), and {shape} looks as if channels were last;"
                " torch.as_tensor(images).permute(0, 3, 1, 2) moves them (of one image, permute(2, 0, 1)),"
                ' and kind="image" says that the shape is right'
            )
        return "image"
    if inputs.ndim == 3 and inputs.dtype == torch.uint8:
        raise LimbeckError(
            f"images should be (N, channels, height, width), not {shape}; for gray: images[:, None]"
        )
    if inputs.ndim == 2 and inputs.dtype == torch.int64:
        return "text"
    if inputs.is_floating_point():
        return "table" if inputs.ndim == 2 else "other"
    raise LimbeckError(
        f"inputs should be uint8 or float images (N, channels, height, width), a float table (N, features),"
        f" int64 tokens (N, length) or named tensors, not {shape}"
    )


def statistics(inputs: Inputs) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation (1 where it is 0) along axis 1; uint8 is taken over 255."""
    if not isinstance(inputs, Tensor):
        return (), ()
    return _parted([_moments(inputs[:, column]) for column in range(inputs.shape[1])])


def statistics_of_levels(counts: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The same of uint8 images, from how often (C, 256) each channel has each value."""
    return _parted([_moments_of_levels(channel) for channel in counts])


def _parted(moments: Sequence[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(mean for mean, _ in moments), tuple(deviation or 1.0 for _, deviation in moments)


def _moments(values: Tensor) -> tuple[float, float]:
    if values.dtype == torch.uint8:  # 256 levels are counted in a tenth of the time
        return _moments_of_levels(values.flatten().bincount(minlength=256))
    variance, mean = torch.var_mean(values.double(), correction=0)
    return mean.item(), variance.sqrt().item()


def _moments_of_levels(counts: Tensor) -> tuple[float, float]:
    share = counts.double() / counts.sum()
    level = torch.arange(256, device=counts.device).double() / 255
    mean = (share * level).sum()
    return mean.item(), (share * (level - mean) ** 2).sum().sqrt().item()


def describe(batch: Inputs) -> str:
    """Names, shapes and dtypes of one sample of a batch: the same text for samples that can share a batch."""
    tensors = named(batch).items()
    return ", ".join(
        f"{name} {tuple(t.shape[1:])} {str(t.dtype).removeprefix('torch.')}".strip() for name, t in tensors
    )
