from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from by_hand import conv, linear, norm
from declared import declared, scramble
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.models import ShuffleNetV1, ShuffleNetV2

IMAGES = torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Weights = Mapping[str, Tensor]


def shuffle(maps: Tensor, groups: int) -> Tensor:
    """Output channel j * groups + k is input channel k * (C / groups) + j."""
    each = maps.shape[1] // groups
    return torch.stack([maps[:, k * each + j] for j in range(each) for k in range(groups)], dim=1)


def unit(maps: Tensor, weights: Weights, path: str, number: int, stride: int = 1) -> Tensor:
    return norm(conv(maps, weights, f"{path}conv{number}", stride), weights, f"{path}bn{number}")


def block_of_v1(maps: Tensor, weights: Weights, path: str, halves: bool, groups: int) -> Tensor:
    """The sum before the final ReLU."""
    hidden = shuffle(unit(maps, weights, path, 1).relu(), groups)
    hidden = unit(hidden, weights, path, 2, 2 if halves else 1).relu()
    hidden = unit(hidden, weights, path, 3)
    if not halves:
        return hidden + maps
    return torch.cat([hidden, F.avg_pool2d(maps, 3, 2, 1, count_include_pad=True)], dim=1)


def block_of_v2(maps: Tensor, weights: Weights, path: str, halves: bool) -> tuple[Tensor, Tensor]:
    """The half that passes and the other, before its final ReLU."""
    if halves:
        left = unit(unit(maps, weights, path, 1, 2), weights, path, 2)
        right = unit(unit(unit(maps, weights, path, 3).relu(), weights, path, 4, 2), weights, path, 5)
        return left.relu(), right
    passing, changing = maps[:, : maps.shape[1] // 2], maps[:, maps.shape[1] // 2 :]
    changed = unit(unit(unit(changing, weights, path, 1).relu(), weights, path, 2), weights, path, 3)
    return passing, changed


@pytest.mark.parametrize("network", [ShuffleNetV1, ShuffleNetV2])
def test_channels_last_goes_through(network: type[nn.Module]) -> None:
    """Convolutions keep the memory format of their input; what shuffles between them must not lose it."""
    made = network(in_channels=3, size=32, num_classes=5)
    formats: list[bool] = []
    for module in made.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda module, args, out: formats.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    made(IMAGES.float().to(memory_format=torch.channels_last))
    assert len(formats) > 40
    assert all(formats)


def test_v1() -> None:
    network = scramble(ShuffleNetV1(in_channels=3, size=32, num_classes=5)).double()
    weights = network.state_dict()
    maps = stem = unit(IMAGES, weights, "", 1).relu()
    preactivations = []
    for layer, blocks in ((1, 4), (2, 8), (3, 4)):
        for number in range(blocks):
            groups = 1 if (layer, number) == (1, 0) else 3
            raw = block_of_v1(maps, weights, f"layer{layer}.{number}.", number == 0, groups)
            maps = raw.relu()
        preactivations.append(raw)
    embedding = F.avg_pool2d(maps, 4).flatten(1)
    torch.testing.assert_close(
        declared(network, IMAGES),
        {
            "logits": linear(embedding, weights, "linear"),
            "stem": stem,
            "stages": [raw.relu() for raw in preactivations],
            "preactivations": preactivations,
            "embedding": embedding,
        },
    )


def test_v2() -> None:
    network = scramble(ShuffleNetV2(in_channels=3, size=32, num_classes=5)).double()
    weights = network.state_dict()
    maps = stem = unit(IMAGES, weights, "", 1).relu()
    stages, preactivations = [], []
    for layer, blocks in ((1, 4), (2, 8), (3, 4)):
        for number in range(blocks):
            passing, raw = block_of_v2(maps, weights, f"layer{layer}.{number}.", number == 0)
            maps = shuffle(torch.cat([passing, raw.relu()], dim=1), 2)
        stages.append(maps)
        preactivations.append(torch.cat([passing, raw], dim=1))
    embedding = F.avg_pool2d(unit(maps, weights, "", 2).relu(), 4).flatten(1)
    torch.testing.assert_close(
        declared(network, IMAGES),
        {
            "logits": linear(embedding, weights, "linear"),
            "stem": stem,
            "stages": stages,
            "preactivations": preactivations,
            "embedding": embedding,
        },
    )


@pytest.mark.parametrize("family", [ShuffleNetV1, ShuffleNetV2])
def test_sizes(family: type[nn.Module]) -> None:
    with torch.device("meta"):
        for size in (8, 33, 64):
            network = family(in_channels=1, size=size, num_classes=3)
            assert network(torch.rand(2, 1, size, size)).shape == (2, 3)
    name = family.__name__.lower()
    with pytest.raises(LimbeckError, match=f"{name} needs images of at least 8 x 8 pixels, not 7 x 9"):
        family(in_channels=1, size=[7, 9], num_classes=3)
