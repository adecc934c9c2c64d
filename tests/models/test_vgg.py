import pytest
import torch
import torch.nn.functional as F
from by_hand import conv, linear, norm
from declared import declared, scramble

from limbeck.errors import LimbeckError
from limbeck.models import VGG


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (64, 48), (9, 20)])
def test_forward_and_features(size: tuple[int, int]) -> None:
    depths = [1, 1, 2, 3, 2]
    network = scramble(VGG([3, 5, 6, 7, 4], depths, in_channels=1, size=size, num_classes=6)).double()
    maps = images = torch.rand(2, 1, *size, dtype=torch.float64)
    weights = network.state_dict()
    before = []
    for number, depth in enumerate(depths):
        if number in (1, 2, 3) or (number == 4 and size == (64, 64)):
            maps = F.max_pool2d(maps, 2, 2)
        for unit in range(depth):
            raw = norm(
                conv(maps, weights, f"block{number}.{3 * unit}"), weights, f"block{number}.{3 * unit + 1}"
            )
            maps = raw.relu()
        before.append(raw)
    embedding = maps.mean((2, 3))
    torch.testing.assert_close(
        declared(network, images),
        {
            "logits": linear(embedding, weights, "classifier"),
            "stem": before[0].relu(),
            "stages": [raw.relu() for raw in before[1:]],
            "preactivations": before[1:],
            "embedding": embedding,
        },
    )


def test_too_small_images_are_refused() -> None:
    with torch.device("meta"):
        VGG(in_channels=1, size=8, num_classes=2)(torch.rand(2, 1, 8, 8))
    with pytest.raises(LimbeckError, match="vgg with 5 blocks needs images of at least 8 x 8 pixels"):
        VGG(in_channels=1, size=(8, 7), num_classes=2)


@pytest.mark.parametrize("depth", [[1, 2], [1, 1, 1, 1, 1, 1]])
def test_as_many_depths_as_blocks(depth: list[int]) -> None:
    with pytest.raises(LimbeckError, match=rf"vgg: depth must be one number, or 5 .*not \[{depth[0]}, "):
        VGG(depth=depth, in_channels=3, size=32, num_classes=2)
