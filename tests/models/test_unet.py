import pytest
import torch
import torch.nn.functional as F
from by_hand import conv, norm
from declared import declared, scramble
from torch import Tensor

from limbeck.models import UNet, build


@pytest.mark.parametrize("size", [(8, 8), (9, 14), (5, 4)])
def test_forward_and_features(size: tuple[int, int]) -> None:
    network = scramble(UNet([3, 4, 5], in_channels=2, num_classes=6)).double()
    images = torch.rand(2, 2, *size, dtype=torch.float64)
    weights = network.state_dict()

    def block(maps: Tensor, path: str) -> tuple[Tensor, Tensor]:
        for unit in ("unit1", "unit2"):
            before = norm(conv(maps, weights, f"{path}.{unit}.conv"), weights, f"{path}.{unit}.bn")
            maps = before.relu()
        return before, maps

    levels = [block(images, "encoder.0")]
    for number in (1, 2):
        smaller = F.max_pool2d(levels[-1][1], 2, ceil_mode=True)
        levels.append(block(smaller, f"encoder.{number}"))
    stages = levels[1:]
    for number, level in enumerate((levels[1], levels[0])):
        larger = F.interpolate(stages[-1][1], size=level[1].shape[2:], mode="bilinear")
        stages.append(block(torch.cat((level[1], larger), 1), f"decoder.{number}"))
    embedding = stages[-1][1]
    torch.testing.assert_close(
        declared(network, images),
        {
            "logits": F.conv2d(embedding, weights["head.weight"], weights["head.bias"]),
            "stem": levels[0][1],
            "stages": [maps for _, maps in stages],
            "preactivations": [before for before, _ in stages],
            "embedding": embedding,
        },
    )
    assert network(images).shape == (2, 6, *size)


def test_an_auxiliary_head_reads_what_enters_the_last_level() -> None:
    network = scramble(UNet([4, 8, 8], aux=True, in_channels=2, num_classes=3)).double().eval()
    plain = UNet([4, 8, 8], in_channels=2, num_classes=3).double().eval()
    weights = network.state_dict()
    plain.load_state_dict({name: each for name, each in weights.items() if not name.startswith("aux")})
    images = torch.rand(2, 2, 9, 7, dtype=torch.float64)
    entered: list[Tensor] = []
    network.get_submodule("decoder.0").register_forward_hook(lambda block, given, maps: entered.append(maps))
    with torch.no_grad():
        found = network(images)
        assert torch.equal(found["out"], plain(images))
        expected = norm(conv(entered[0], weights, "aux.0.conv"), weights, "aux.0.bn").relu()
        expected = F.conv2d(expected, weights["aux.1.weight"], weights["aux.1.bias"])
        expected = F.interpolate(expected, size=(9, 7), mode="bilinear")
    torch.testing.assert_close(found["aux"], expected)


def test_it_is_built_of_the_data() -> None:
    network = build("unet(channels=[4, 8])", example=torch.rand(2, 1, 8, 8), num_classes=3)
    assert network(torch.rand(1, 1, 7, 9)).shape == (1, 3, 7, 9)
