"""Wide residual networks. Zagoruyko & Komodakis, BMVC 2016, arXiv:1605.07146.

Function and weight keys are those of the distillation benchmarks.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.errors import LimbeckError
from limbeck.models.blocks import conv, initialize
from limbeck.models.inputs import Size, sides


class WideBlock(nn.Module):
    """Two convolutions 3x3, each after its batch norm and ReLU; nothing follows the sum with the shortcut.

    (B, before, H, W) to (B, after, H, W), which the stride divides, rounded up. Where the channels change,
    the shortcut is a convolution 1x1 of what the first ReLU made.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.relu1 = nn.ReLU()
        self.conv1 = conv(before, after, stride=stride)
        self.bn2 = nn.BatchNorm2d(after)
        self.relu2 = nn.ReLU()
        self.conv2 = conv(after, after)
        self.convShortcut = None if before == after else conv(before, after, 1, stride=stride)

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, one block on."""
        active = self.relu1(self.bn1(maps))
        residual = self.conv2(self.relu2(self.bn2(self.conv1(active))))
        shortcut = maps if self.convShortcut is None else self.convShortcut(active)
        return residual + shortcut  # type: ignore[no-any-return]


class WideResNet(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes) logits.

    Three groups of blocks, of which the second and the third halve the maps.

    Args:
        depth: 6n + 4 for n blocks a group.
        width: the groups have 16, 32 and 64 channels times it.
    """

    def __init__(
        self, depth: Count = 16, width: Count = 2, *, in_channels: Count, size: Size, num_classes: Count
    ) -> None:
        super().__init__()
        sides(size, 4, "wrn")
        blocks, rest = divmod(depth - 4, 6)
        if blocks < 1 or rest:
            raise LimbeckError(f"wrn has a depth of 6n + 4 layers, such as 10, 16, 22, 28 or 40, not {depth}")
        self.conv1 = conv(in_channels, 16)
        before = 16
        for number, after in enumerate((16 * width, 32 * width, 64 * width), start=1):
            group = nn.Sequential()
            for position in range(blocks):
                group.append(WideBlock(before, after, stride=2 if number > 1 and position == 0 else 1))
                before = after
            self.add_module(f"block{number}", nn.Sequential(OrderedDict(layer=group)))
        self.bn1 = nn.BatchNorm2d(before)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(before, num_classes)
        initialize(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        maps = self.conv1(images)
        for group in ("block1", "block2", "block3"):
            maps = self.get_submodule(group)(maps)
        return self.fc(self.flatten(self.pool(self.relu(self.bn1(maps)))))  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """Stages are bare sums; pre-activations are what the next batch norm makes of them."""
        return {
            "stem": "conv1",
            "stages": ["block1", "block2", "block3"],
            "preactivations": ["block2.layer.0.bn1", "block3.layer.0.bn1", "bn1"],
            "embedding": "fc:input",
        }
