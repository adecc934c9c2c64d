import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from declared import declared, scramble
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.models import ResNet, count_parameters

KEYS = Path(__file__).parents[2].parent / "shared" / "reference" / "checkpoint-keys.json"

BENCHMARK: list[tuple[str, dict[str, Any], int, int]] = [
    ("resnet8", {}, 83_892, 56),
    ("resnet20", {"blocks": 3}, 278_324, 128),
    ("resnet56", {"blocks": 9}, 861_620, 344),
    ("resnet8x4", {"channels": [64, 128, 256], "stem": 32}, 1_233_540, 62),
    ("resnet32x4", {"channels": [64, 128, 256], "stem": 32, "blocks": 5}, 7_433_860, 206),
]


@pytest.mark.parametrize(("name", "arguments", "parameters", "keys"), BENCHMARK)
def test_the_benchmarks_networks_are_members_of_the_family(
    name: str, arguments: dict[str, Any], parameters: int, keys: int
) -> None:
    network = ResNet(**arguments, in_channels=3, size=32, num_classes=100)
    assert count_parameters(network) == parameters
    assert len(network.state_dict()) == keys


@pytest.mark.skipif(not KEYS.is_file(), reason="the reference list of checkpoint keys is not here")
@pytest.mark.parametrize(("name", "arguments", "parameters", "keys"), BENCHMARK)
def test_keys_and_shapes_are_those_of_the_benchmarks_checkpoints(
    name: str, arguments: dict[str, Any], parameters: int, keys: int
) -> None:
    state = ResNet(**arguments, in_channels=3, size=32, num_classes=100).state_dict()
    expected = json.loads(KEYS.read_text())[name]
    assert list(state) == list(expected)
    assert {key: list(tensor.shape) for key, tensor in state.items()} == expected


def norm(maps: Tensor, weights: dict[str, Any], path: str) -> Tensor:
    names = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(maps, *(weights[f"{path}.{name}"] for name in names))


def block(maps: Tensor, weights: dict[str, Any], path: str, stride: int) -> Tensor:
    """The sum before the final ReLU."""
    residual = F.conv2d(maps, weights[f"{path}.conv1.weight"], stride=stride, padding=1)
    residual = norm(residual, weights, f"{path}.bn1").relu()
    residual = norm(F.conv2d(residual, weights[f"{path}.conv2.weight"], padding=1), weights, f"{path}.bn2")
    if f"{path}.downsample.0.weight" in weights:
        maps = F.conv2d(maps, weights[f"{path}.downsample.0.weight"], stride=stride)
        maps = norm(maps, weights, f"{path}.downsample.1")
    return residual + maps


def test_forward_and_features() -> None:
    network = scramble(ResNet([3, 5], blocks=2, in_channels=1, size=9, num_classes=4))
    images = torch.rand(2, 1, 9, 9)
    weights = network.state_dict()
    stem = norm(F.conv2d(images, weights["conv1.weight"], padding=1), weights, "bn1").relu()
    first = block(block(stem, weights, "layer1.0", 1).relu(), weights, "layer1.1", 1)
    second = block(block(first.relu(), weights, "layer2.0", 2).relu(), weights, "layer2.1", 1)
    assert second.shape == (2, 5, 5, 5)
    assert "layer1.0.downsample.0.weight" not in weights
    embedding = second.relu().mean((2, 3))

    torch.testing.assert_close(
        declared(network, images),
        {
            "logits": F.linear(embedding, weights["fc.weight"], weights["fc.bias"]),
            "stem": stem,
            "stages": [first.relu(), second.relu()],
            "preactivations": [first, second],
            "embedding": embedding,
        },
    )


def test_too_small_images_are_refused() -> None:
    ResNet(in_channels=1, size=4, num_classes=2)
    with pytest.raises(LimbeckError, match="resnet with 3 stages needs images of at least 4 x 4 pixels"):
        ResNet(in_channels=1, size=(4, 3), num_classes=2)
