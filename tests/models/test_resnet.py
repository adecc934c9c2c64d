from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from by_hand import conv, linear, norm
from declared import declared, scramble
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.models import ResNet


def basic(maps: Tensor, weights: Mapping[str, Tensor], path: str, stride: int) -> Tensor:
    residual = norm(conv(maps, weights, f"{path}.conv1", stride), weights, f"{path}.bn1").relu()
    return norm(conv(residual, weights, f"{path}.conv2"), weights, f"{path}.bn2")


def bottleneck(maps: Tensor, weights: Mapping[str, Tensor], path: str, stride: int) -> Tensor:
    residual = norm(conv(maps, weights, f"{path}.conv1"), weights, f"{path}.bn1").relu()
    residual = norm(conv(residual, weights, f"{path}.conv2", stride), weights, f"{path}.bn2").relu()
    return norm(conv(residual, weights, f"{path}.conv3"), weights, f"{path}.bn3")


@pytest.mark.parametrize("size", [(9, 9), (8, 6)])
@pytest.mark.parametrize("classifier", ["fc", "linear"])
@pytest.mark.parametrize("residual", [basic, bottleneck])
def test_forward_and_features(residual: object, classifier: str, size: tuple[int, int]) -> None:
    bottlenecks, shortcut = residual is bottleneck, "downsample" if classifier == "fc" else "shortcut"
    function = bottleneck if bottlenecks else basic
    network = ResNet(
        [3, 5],
        [2, 1],
        bottleneck=bottlenecks,
        classifier="fc" if classifier == "fc" else "linear",
        in_channels=1,
        size=size,
        num_classes=4,
    )
    scramble(network).double()
    images = torch.rand(2, 1, *size, dtype=torch.float64)
    weights = network.state_dict()

    def block(maps: Tensor, path: str, stride: int, changes: bool) -> Tensor:
        """The sum before the final ReLU."""
        assert (f"{path}.{shortcut}.0.weight" in weights) == changes
        added = function(maps, weights, path, stride)
        if not changes:
            return added + maps
        return added + norm(
            conv(maps, weights, f"{path}.{shortcut}.0", stride), weights, f"{path}.{shortcut}.1"
        )

    stem = norm(conv(images, weights, "conv1"), weights, "bn1").relu()
    first = block(block(stem, "layer1.0", 1, changes=bottlenecks).relu(), "layer1.1", 1, changes=False)
    second = block(first.relu(), "layer2.0", 2, changes=True)
    assert second.shape == (2, 20 if bottlenecks else 5, -(-size[0] // 2), -(-size[1] // 2))
    embedding = second.relu().mean((2, 3))
    torch.testing.assert_close(
        declared(network, images),
        {
            "logits": linear(embedding, weights, classifier),
            "stem": stem,
            "stages": [first.relu(), second.relu()],
            "preactivations": [first, second],
            "embedding": embedding,
        },
    )


def test_the_pooling_is_the_benchmarks_at_its_size() -> None:
    network = ResNet(in_channels=3, size=32, num_classes=4)
    maps = torch.rand(2, 64, 8, 8)
    torch.testing.assert_close(network.pool(maps), F.avg_pool2d(maps, 8))
    assert isinstance(network.pool, nn.AdaptiveAvgPool2d)


def test_too_small_images_are_refused() -> None:
    ResNet(in_channels=1, size=4, num_classes=2)
    with pytest.raises(LimbeckError, match="resnet with 3 stages needs images of at least 4 x 4 pixels"):
        ResNet(in_channels=1, size=(4, 3), num_classes=2)


def test_as_many_numbers_of_blocks_as_stages() -> None:
    with pytest.raises(LimbeckError, match=r"resnet: blocks must be one number, or 3 .*not \[3, 4, 6, 3\]"):
        ResNet(blocks=[3, 4, 6, 3], in_channels=3, size=32, num_classes=2)
