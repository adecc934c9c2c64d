from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from by_hand import conv, linear, norm
from declared import declared, scramble
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.models import MobileNetV2, count_parameters


def block(maps: Tensor, weights: Mapping[str, Tensor], path: str, stride: int) -> Tensor:
    hidden = norm(conv(maps, weights, f"{path}.0"), weights, f"{path}.1").relu()
    hidden = norm(conv(hidden, weights, f"{path}.3", stride), weights, f"{path}.4").relu()
    hidden = norm(conv(hidden, weights, f"{path}.6"), weights, f"{path}.7")
    return hidden + maps if hidden.shape == maps.shape else hidden


@pytest.mark.parametrize("size", [16, 20, 32])
def test_forward_and_features(size: int) -> None:
    network = scramble(MobileNetV2(in_channels=3, size=size, num_classes=5)).double()
    images = torch.rand(2, 3, size, size, dtype=torch.float64)
    weights = network.state_dict()
    maps = stem = norm(conv(images, weights, "conv1.0", 2), weights, "conv1.1").relu()
    stages = []
    for stage, (blocks, stride) in enumerate([(1, 1), (2, 1), (3, 2), (4, 2), (3, 1), (3, 2), (1, 1)]):
        for number in range(blocks):
            maps = block(maps, weights, f"blocks.{stage}.{number}.conv", 1 if number else stride)
        stages.append(maps)
    widened = norm(conv(maps, weights, "conv2.0"), weights, "conv2.1").relu()
    embedding = F.avg_pool2d(widened, 2, ceil_mode=True).flatten(1)
    linear_stages = [stages[number] for number in (1, 2, 4, 6)]
    torch.testing.assert_close(
        declared(network, images),
        {
            "logits": linear(embedding, weights, "classifier.0"),
            "stem": stem,
            "stages": linear_stages,
            "preactivations": linear_stages,
            "embedding": embedding,
        },
    )


def test_other_widths() -> None:
    with torch.device("meta"):
        whole = MobileNetV2(1.0, in_channels=3, size=32, num_classes=1000)
        narrow = MobileNetV2(0.01, in_channels=1, size=16, num_classes=2)
        first = 32 * 32 + 2 * 32  # a convolution 1x1 with its norm, which the usual ones leave out
        assert count_parameters(whole) == 3_504_872 + first
        assert narrow(torch.rand(2, 1, 16, 16)).shape == (2, 2)


def test_too_small_images_are_refused() -> None:
    with pytest.raises(LimbeckError, match="mobilenetv2 needs images of at least 16 x 16 pixels, not 8 x 8"):
        MobileNetV2(in_channels=1, size=8, num_classes=2)
