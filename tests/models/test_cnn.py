from typing import Any

import pytest
import torch
import torch.nn.functional as F
from declared import declared, scramble
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.models import CNN, count_parameters


def conv_bn(inputs: Tensor, weights: dict[str, Any], path: str) -> Tensor:
    maps = F.conv2d(inputs, weights[f"{path}.conv.weight"], padding=1)
    names = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(maps, *(weights[f"{path}.bn.{name}"] for name in names))


def test_the_quickstart_student_has_about_650_parameters() -> None:
    assert count_parameters(CNN([4, 8], in_channels=1, size=8, num_classes=10)) == 678


def test_parameters_of_the_default() -> None:
    convolutions = 9 * (3 * 16 + 16 * 32 + 32 * 64)
    norms = 2 * (16 + 32 + 64)
    network = CNN(in_channels=3, size=32, num_classes=100)
    assert count_parameters(network) == convolutions + norms + (4 * 64 + 1) * 100


def test_forward_and_features() -> None:
    network = scramble(CNN([3, 5], depth=2, in_channels=2, size=12, num_classes=4))
    images = torch.rand(3, 2, 12, 12)
    weights = network.state_dict()
    first = conv_bn(conv_bn(images, weights, "stages.0.0").relu(), weights, "stages.0.1")
    pooled = F.max_pool2d(first.relu(), 2)
    second = conv_bn(conv_bn(pooled, weights, "stages.1.0").relu(), weights, "stages.1.1")
    embedding = F.avg_pool2d(second.relu(), 3).flatten(1)
    assert embedding.shape == (3, 5 * 2 * 2)

    torch.testing.assert_close(
        declared(network, images),
        {
            "logits": F.linear(embedding, weights["classifier.weight"], weights["classifier.bias"]),
            "stages": [first.relu(), second.relu()],
            "preactivations": [first, second],
            "embedding": embedding,
        },
    )


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (11, 14), (32, 28), (31, 33)])
def test_quarters_are_those_of_adaptive_pooling(size: tuple[int, int]) -> None:
    network = CNN([3, 5, 7], in_channels=1, size=size, num_classes=4)
    maps = torch.rand(2, 7, size[0] // 4, size[1] // 4)
    torch.testing.assert_close(network.quarters(maps), F.adaptive_avg_pool2d(maps, 2))
    assert network(torch.rand(2, 1, *size)).shape == (2, 4)


def test_convolutions_start_with_fan_out_variance() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CNN([64, 128], in_channels=64, size=8, num_classes=4)
    weight = network.state_dict()["stages.1.0.conv.weight"]
    assert float(weight.std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)


def test_a_map_that_cannot_be_quartered_is_refused() -> None:
    CNN([4, 4, 4], in_channels=1, size=8, num_classes=2)
    with pytest.raises(
        LimbeckError, match="cnn with 3 stages needs images of at least 8 x 8 pixels, not 8 x 7"
    ):
        CNN([4, 4, 4], in_channels=1, size=(8, 7), num_classes=2)
