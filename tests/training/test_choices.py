from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from limbeck.methods import Losses, Term
from limbeck.outputs import Batch
from limbeck.training import choices
from limbeck.training.choices import (
    Choices,
    gains_by_channels_last,
    multiplies_bfloat16,
    resolve_precision,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("able", "precision"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "bf16"),
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True}, "bf16"),
        ({"amx_bf16": False, "avx512_bf16": False, "avx512_f": True}, "fp32"),
        ({"architecture": "aarch64"}, "fp32"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_it(
    able: Mapping[str, object], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "multiplies_bfloat16", multiplies_bfloat16)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert resolve_precision("auto", CPU) == precision
    assert resolve_precision("fp32", CPU) == "fp32"
    assert resolve_precision("bf16", CPU) == "bf16"


@pytest.mark.parametrize("able", [True, False])
def test_an_older_torch_is_asked_otherwise(able: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able)
    assert multiplies_bfloat16() is able


@pytest.mark.parametrize(("able", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_accelerators(able: bool, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able)
    assert resolve_precision("auto", CUDA) == precision
    assert resolve_precision("auto", torch.device("mps")) == "fp32"


class Seen(nn.Module):
    """Notes what it is called with, and in which type it multiplies."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.batch: Batch | None = None
        self.dtype: torch.dtype | None = None

    def forward(self, batch: Batch) -> Losses:
        self.batch = batch
        assert isinstance(batch.inputs, Tensor)
        maps = self.conv(batch.inputs)
        self.dtype = maps.dtype
        return Losses({"mean": Term(maps.float().mean())})


def test_images_come_channels_last_and_nothing_else_changes() -> None:
    images, flat = torch.rand(2, 3, 8, 8), torch.rand(2, 3)
    module = Seen()
    batch = Batch(images, torch.tensor([0, 1]), views={"other": {"image": images, "row": flat}})
    Choices("fp32", "channels_last").forward(module, batch)
    seen = module.batch
    assert seen is not None
    assert isinstance(seen.inputs, Tensor)
    assert seen.inputs.is_contiguous(memory_format=torch.channels_last)
    assert not seen.inputs.is_contiguous()
    assert torch.equal(seen.inputs, images)
    other = seen.views["other"]
    assert isinstance(other, Mapping)
    assert other["image"].is_contiguous(memory_format=torch.channels_last)
    assert other["row"] is flat
    assert seen.targets is batch.targets
    assert module.dtype == torch.float32
    assert images.is_contiguous()


def test_bfloat16_leaves_the_memory_alone() -> None:
    module = Seen()
    batch = Batch(torch.rand(2, 3, 8, 8))
    losses = Choices("bf16").forward(module, batch)
    assert module.batch is batch
    assert module.dtype == torch.bfloat16
    assert losses.total.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")


def test_what_gains_by_channels_last() -> None:
    convolutions, rows = nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Linear(3, 4)
    assert gains_by_channels_last(convolutions, Batch(torch.rand(2, 3, 8, 8)))
    assert gains_by_channels_last(convolutions, Batch({"image": torch.rand(2, 3, 8, 8)}))
    assert not gains_by_channels_last(convolutions, Batch(torch.rand(2, 1, 8, 8))), "one channel is both"
    assert not gains_by_channels_last(rows, Batch(torch.rand(2, 3, 8, 8)))
    assert not gains_by_channels_last(convolutions, Batch(torch.rand(2, 3)))
