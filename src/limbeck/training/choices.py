"""How a loop computes: precision, memory format, and whether its networks are compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.outputs import Batch, apply

Precision = Literal["fp32", "bf16", "fp16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Sharding = Literal["none", "student", "both"]
HALF: Mapping[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}
T = TypeVar("T")


@dataclass(frozen=True)
class Choices:
    """What decides the bits of a training besides its config; recorded, and taken over when it is resumed.

    Attributes:
        precision: "bf16" runs the networks under bfloat16 autocast, "fp16" under float16; losses are float32
            all the same.
        memory_format: of the images that enter the networks. Convolutions answer in the format of their
            input, so weights and all that is saved stay contiguous.
        compile: whether the networks run compiled.
    """

    precision: Precision
    memory_format: MemoryFormat = "contiguous"
    compile: bool = False

    def forward(self, module: Callable[[Batch], T], batch: Batch) -> T:
        """What the module makes of a batch in this precision and memory format."""
        if self.memory_format == "channels_last":
            views = {name: apply(_channels_last, inputs) for name, inputs in batch.views.items()}
            batch = replace(batch, inputs=apply(_channels_last, batch.inputs), views=views)
        device = _inputs(batch)[0].device.type
        with autocast(self.precision, device):
            return module(batch)


def autocast(precision: Precision, device: str) -> AbstractContextManager[object]:
    """A context in which the networks run in a precision, on a type of device."""
    return nullcontext() if precision == "fp32" else torch.autocast(device, HALF[precision])


def resolve_precision(asked: Precision | Literal["auto"], device: torch.device) -> Precision:
    """What "auto" comes to: bfloat16 where the processor multiplies matrices in it, or else float32.

    Raises:
        LimbeckError: for float16 on anything but CUDA.
    """
    if asked == "fp16" and device.type != "cuda":
        raise LimbeckError(
            f"precision='fp16' needs a CUDA device, and this training is on {device.type}; say bf16, fp32 or "
            "auto"
        )
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and multiplies_bfloat16() else "fp32"


def multiplies_bfloat16() -> bool:
    """Whether the processor has instructions that multiply matrices in bfloat16."""
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch
        return torch.cpu._is_avx512_bf16_supported()
    able = torch.cpu.get_capabilities()
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def gains_by_channels_last(module: nn.Module, batch: Batch) -> bool:
    """Whether there are convolutions, and images of more than one channel for them."""
    images = any(tensor.dim() == 4 and tensor.shape[1] > 1 for tensor in _inputs(batch))
    return images and any(isinstance(part, nn.Conv2d) for part in module.modules())


def unsafe_in_channels_last(module: nn.Module) -> str | None:
    """Why networks must not see channels-last images, though a step may seem to succeed; None if they may.

    On CPUs the gradient of a 1x1 convolution with a stride and fewer than 16 channels writes outside of its
    memory (oneDNN, issue 6035).
    """
    for part in module.modules():
        if (
            isinstance(part, nn.Conv2d)
            and part.weight.requires_grad
            and part.weight.device.type == "cpu"
            and set(part.kernel_size) == {1}
            and max(part.stride) > 1
            and part.in_channels // part.groups < 16
        ):
            return (
                f"a 1x1 convolution with a stride of {max(part.stride)} and {part.in_channels} channels "
                "corrupts memory in this format on CPUs"
            )
    return None


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _inputs(batch: Batch) -> list[Tensor]:
    return [batch.inputs] if isinstance(batch.inputs, Tensor) else list(batch.inputs.values())
