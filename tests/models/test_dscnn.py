from typing import Any

import pytest
import torch
import torch.nn.functional as F
from declared import declared, scramble
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.models import DSCNN, count_parameters


def conv_bn(inputs: Tensor, weights: dict[str, Any], path: str, **arguments: Any) -> Tensor:
    maps = F.conv2d(inputs, weights[f"{path}.conv.weight"], **arguments)
    names = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(maps, *(weights[f"{path}.bn.{name}"] for name in names))


def test_parameters() -> None:
    stem = 9 * 1 * 8 + 2 * 8
    first = 9 * 8 + 2 * 8 + 8 * 8 + 2 * 8
    second = 9 * 8 + 2 * 8 + 8 * 16 + 2 * 16
    network = DSCNN([8, 16], in_channels=1, size=8, num_classes=10)
    assert count_parameters(network) == stem + first + second + 17 * 10 == 674


def test_forward_and_features() -> None:
    network = scramble(DSCNN([4, 6], depth=2, in_channels=1, size=9, num_classes=3))
    images = torch.rand(2, 1, 9, 9)
    weights = network.state_dict()

    def pair(maps: Tensor, stage: int, first: int, stride: int) -> Tensor:
        depthwise = f"stages.{stage}.{first}"
        groups = maps.shape[1]
        maps = conv_bn(maps, weights, depthwise, stride=stride, padding=1, groups=groups).relu()
        return conv_bn(maps, weights, f"stages.{stage}.{first + 1}")

    stem = conv_bn(images, weights, "stem", padding=1).relu()
    first = pair(pair(stem, 0, 0, 1).relu(), 0, 2, 1)
    second = pair(pair(first.relu(), 1, 0, 2).relu(), 1, 2, 1)
    assert second.shape == (2, 6, 5, 5)
    embedding = second.relu().mean((2, 3))

    torch.testing.assert_close(
        declared(network, images),
        {
            "logits": F.linear(embedding, weights["classifier.weight"], weights["classifier.bias"]),
            "stem": stem,
            "stages": [first.relu(), second.relu()],
            "preactivations": [first, second],
            "embedding": embedding,
        },
    )


def test_too_small_images_are_refused() -> None:
    DSCNN([4, 4, 4], in_channels=1, size=4, num_classes=2)
    with pytest.raises(LimbeckError, match="dscnn with 3 stages needs images of at least 4 x 4 pixels"):
        DSCNN([4, 4, 4], in_channels=1, size=3, num_classes=2)
