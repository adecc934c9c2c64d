import pytest
import torch
import torch.nn.functional as F
from by_hand import conv, linear, norm
from declared import declared, scramble

from limbeck.errors import LimbeckError
from limbeck.models import WideResNet, count_parameters


@pytest.mark.parametrize("width", [1, 2])
def test_forward_and_features(width: int) -> None:
    network = scramble(WideResNet(16, width, in_channels=3, size=32, num_classes=5)).double()
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    weights = network.state_dict()
    maps = stem = conv(images, weights, "conv1")
    stages = []
    for group in (1, 2, 3):
        for block in (0, 1):
            path, stride = f"block{group}.layer.{block}", 2 if group > 1 and block == 0 else 1
            active = norm(maps, weights, f"{path}.bn1").relu()
            hidden = norm(conv(active, weights, f"{path}.conv1", stride), weights, f"{path}.bn2").relu()
            widens = block == 0 and (group > 1 or width > 1)
            shortcut = conv(active, weights, f"{path}.convShortcut", stride) if widens else maps
            maps = conv(hidden, weights, f"{path}.conv2") + shortcut
        stages.append(maps)
    norms = ["block2.layer.0.bn1", "block3.layer.0.bn1", "bn1"]
    preactivations = [norm(stage, weights, path) for stage, path in zip(stages, norms, strict=True)]
    embedding = F.avg_pool2d(preactivations[2].relu(), 8).view(-1, 64 * width)
    torch.testing.assert_close(
        declared(network, images),
        {
            "logits": linear(embedding, weights, "fc"),
            "stem": stem,
            "stages": stages,
            "preactivations": preactivations,
            "embedding": embedding,
        },
    )


def test_images_of_another_size_have_one_row_of_logits_each() -> None:
    with torch.device("meta"):
        for size in (4, 8, 33, 64, 93):
            network = WideResNet(10, 1, in_channels=3, size=size, num_classes=5)
            assert network(torch.rand(3, 3, size, size)).shape == (3, 5)


def test_parameters_of_another_depth_and_width() -> None:
    with torch.device("meta"):
        network = WideResNet(28, 10, in_channels=3, size=32, num_classes=100)
    assert count_parameters(network) == pytest.approx(36.5e6, rel=0.002)  # the paper's table 4


@pytest.mark.parametrize("depth", [4, 17])
def test_a_depth_that_is_no_sum_of_blocks_is_refused(depth: int) -> None:
    with pytest.raises(LimbeckError, match=rf"wrn has a depth of 6n \+ 4 layers.*not {depth}"):
        WideResNet(depth, in_channels=3, size=32, num_classes=2)


def test_too_small_images_are_refused() -> None:
    with pytest.raises(LimbeckError, match="wrn needs images of at least 4 x 4 pixels, not 4 x 3"):
        WideResNet(in_channels=1, size=(4, 3), num_classes=2)
