from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from limbeck.features import batch_norms, find
from limbeck.models import CNN, ResNet, build


class Block(nn.Module):
    """A residual block with its shortcut's batch norm before or after the branch's, or a sum in place."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order = order
        self.conv1, self.conv2 = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(2))
        self.shortcut = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
        self.bn1, self.bn2 = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2, 3)

    def forward(self, maps: Tensor) -> Tensor:
        early = self.shortcut(maps) if self.order == "shortcut first" else None
        branch = self.bn2(self.conv2(self.bn1(self.conv1(maps)).relu()))
        shortcut = self.shortcut(maps) if early is None else early
        if self.order == "in place":
            branch += shortcut
        else:
            branch = torch.add(branch, shortcut) if self.order == "function" else branch + shortcut
        return self.fc(self.pool(self.relu(branch)).flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("order", ["branch first", "shortcut first", "in place", "function"])
def test_of_a_residual_sum_it_is_the_last_of_the_branch(order: str) -> None:
    network, example = Block(order), torch.rand(2, 2, 6, 6)
    points = find(network, example, overrides={"preactivations": ["relu:input"]})
    [norm] = batch_norms(network, example, points.preactivations)
    assert norm is network.bn2


@pytest.mark.parametrize("blocks", [1, 2])
def test_in_a_residual_network_it_is_the_last_of_every_stage(blocks: int) -> None:
    network, example = ResNet([4, 6], blocks, in_channels=1, size=8, num_classes=3), torch.rand(2, 1, 8, 8)
    points = find(network, example)
    found = batch_norms(network, example, points.preactivations)
    names = {module: name for name, module in network.named_modules()}
    assert [norm and names[norm] for norm in found] == [f"layer{n}.{blocks - 1}.bn2" for n in (1, 2)]


@pytest.mark.parametrize(
    ("name", "norms"),
    [
        ("resnet20", ["layer1.2.bn2", "layer2.2.bn2", "layer3.2.bn2"]),
        ("wrn_16_1", ["block2.layer.0.bn1", "block3.layer.0.bn1", "bn1"]),
        ("vgg11", ["block1.1", "block2.4", "block3.4", "block4.4"]),
        ("mobilenetv2", ["blocks.1.1.conv.7", "blocks.2.2.conv.7", "blocks.4.2.conv.7", "blocks.6.0.conv.7"]),
    ],
)
def test_in_the_benchmark_s_networks_it_is_the_one_they_name(name: str, norms: list[str]) -> None:
    example = torch.rand(2, 3, 32, 32)
    network = build(name, example=example, num_classes=10)
    found = batch_norms(network, example, find(network, example).preactivations)
    assert found == [network.get_submodule(norm) for norm in norms]


def test_a_chain_of_sums_ends_in_the_last_block_s() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = (
                nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)) for _ in range(3)
            )
            self.fc = nn.Linear(2, 3)

        def forward(self, maps: Tensor) -> Tensor:
            maps = self.first(maps)
            maps = maps + self.second(maps)
            maps = maps + self.third(maps)
            return self.fc(torch.relu(maps).mean((2, 3)))  # type: ignore[no-any-return]

    network, example = Chain(), torch.rand(2, 2, 4, 4)
    points = find(network, example, overrides={"preactivations": ["second", "third"]})
    found = batch_norms(network, example, points.preactivations)
    assert found == [network.second[1], network.third[1]]


def test_the_norm_s_own_output_counts_and_nothing_else_does() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3, affine=False),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    example = torch.rand(2, 1, 6, 6)
    points = find(network, example, overrides={"preactivations": ["1", "2", "4"]})
    assert batch_norms(network, example, points.preactivations) == [network[1], None, None]


def test_the_network_is_left_as_it_was() -> None:
    network, example = CNN([2, 4], in_channels=1, size=8, num_classes=3).train(), torch.rand(2, 1, 8, 8)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    batch_norms(network, example, find(network, example).preactivations)
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
