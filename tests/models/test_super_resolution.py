"""edsr and fsrcnn, layer by layer."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from declared import declared, scramble

from limbeck import LimbeckError
from limbeck.models import EDSR, FSRCNN, build


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_edsr(scale: int) -> None:
    network = scramble(EDSR(4, 4, scale, block_scale=0.5, in_channels=3, num_classes=3)).double()
    images = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    weights = network.state_dict()

    def conv(maps: torch.Tensor, path: str) -> torch.Tensor:
        return F.conv2d(maps, weights[f"{path}.weight"], weights[f"{path}.bias"], padding=1)

    first = maps = conv(images, "conv1")
    stages = []
    for number in range(4):
        maps = maps + 0.5 * conv(conv(maps, f"body.{number}.conv1").relu(), f"body.{number}.conv2")
        stages.append(maps)
    trunk = embedding = first + conv(maps, "conv2")
    for place, step in enumerate({1: [], 2: [2], 3: [3], 4: [2, 2]}[scale]):
        embedding = F.pixel_shuffle(conv(embedding, f"enlarge.{2 * place}"), step)
    enlarged = F.interpolate(images, scale_factor=float(scale), mode="bilinear") if scale > 1 else images
    torch.testing.assert_close(
        declared(network, images),
        {
            "logits": conv(embedding, "head") + enlarged,
            "stem": first,
            "stages": [stages[1], stages[2], stages[3], trunk],
            "embedding": embedding,
        },
    )
    assert network(images).shape == (2, 3, 5 * scale, 7 * scale)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_fsrcnn(scale: int) -> None:
    network = scramble(FSRCNN(6, 3, 2, scale, in_channels=1, num_classes=1)).double()
    images = torch.rand(2, 1, 5, 7, dtype=torch.float64)
    weights = network.state_dict()

    def unit(maps: torch.Tensor, path: str) -> torch.Tensor:
        kernel = weights[f"{path}.0.weight"]
        before = F.conv2d(maps, kernel, weights[f"{path}.0.bias"], padding=kernel.shape[2] // 2)
        return F.prelu(before, weights[f"{path}.1.weight"])

    first = unit(images, "extract")
    shrunk = unit(first, "shrink")
    mapped = unit(unit(shrunk, "map.0"), "map.1")
    embedding = unit(mapped, "expand")
    answer = F.conv_transpose2d(
        embedding, weights["head.weight"], weights["head.bias"], scale, padding=4, output_padding=scale - 1
    )
    enlarged = F.interpolate(images, scale_factor=float(scale), mode="bilinear") if scale > 1 else images
    torch.testing.assert_close(
        declared(network, images),
        {
            "logits": answer + enlarged,
            "stem": first,
            "stages": [shrunk, mapped, embedding],
            "embedding": embedding,
        },
    )


@pytest.mark.parametrize("spec", ["edsr(width=4, depth=1)", "fsrcnn(width=4, inner=2, depth=1)"])
def test_fresh_networks_answer_about_as_bilinear_enlargement(spec: str) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 3, 8, 8)
    network = build(spec, example=images, num_classes=3).requires_grad_(False)
    enlarged = F.interpolate(images, scale_factor=2.0, mode="bilinear")
    assert 0 < float((network(images) - enlarged).abs().mean()) < 0.05
    plain = build(spec[:-1] + ", residual=false)", example=images, num_classes=3)
    assert float(plain(images).detach().abs().mean()) < 2.0


def test_factors_that_edsr_has_not_are_refused() -> None:
    with pytest.raises(LimbeckError, match="edsr enlarges by 1, 2, 3, 4 or 8, not by 5"):
        EDSR(4, 1, 5, in_channels=1, num_classes=1)
