"""ShuffleNet for small images. Zhang, Zhou, Lin & Sun, CVPR 2018, arXiv:1707.01083; three groups.

Function and weight keys are those of the distillation benchmarks. Unlike the paper's, the stem is a 1x1
convolution without pooling, and a ReLU follows the depthwise convolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.models.blocks import conv
from limbeck.models.inputs import Size, sides


class ShuffleBlock(nn.Module):
    """Convolutions 1x1 in groups with a shuffle of the channels, and a depthwise one 3x3, between them.

    (B, before, H, W) to (B, after, H, W), or if it `halves` to half of that size, rounded up: the shortcut is
    then averaged and stands beside the new channels instead of being added to them.
    """

    def __init__(self, before: int, after: int, groups: int, halves: bool) -> None:
        super().__init__()
        made = after - before if halves else after
        middle = made // 4
        self.groups, self.halves = groups, halves
        self.conv1 = conv(before, middle, 1, groups=groups)
        self.bn1 = nn.BatchNorm2d(middle)
        self.relu1 = nn.ReLU()
        self.conv2 = conv(middle, middle, stride=2 if halves else 1, groups=middle)
        self.bn2 = nn.BatchNorm2d(middle)
        self.relu2 = nn.ReLU()
        self.conv3 = conv(middle, made, 1, groups=3)
        self.bn3 = nn.BatchNorm2d(made)
        self.average = nn.AvgPool2d(3, stride=2, padding=1)
        self.relu3 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, one block on."""
        made = F.channel_shuffle(self.relu1(self.bn1(self.conv1(maps))), self.groups)
        made = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(made)))))
        both = torch.cat([made, self.average(maps)], dim=1) if self.halves else made + maps
        return self.relu3(both)  # type: ignore[no-any-return]


class ShuffleNetV1(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes) logits; each of the three stages halves the maps."""

    def __init__(self, *, in_channels: Count, size: Size, num_classes: Count) -> None:
        super().__init__()
        sides(size, 8, "shufflenetv1")
        self.conv1 = conv(in_channels, 24, 1)
        self.bn1 = nn.BatchNorm2d(24)
        self.relu = nn.ReLU()
        before = 24
        for number, (after, count) in enumerate(_STAGES, start=1):
            layer = nn.Sequential()
            for position in range(count):
                groups = 3 if before > 24 else 1  # so few channels are not divided
                layer.append(ShuffleBlock(before, after, groups, halves=position == 0))
                before = after
            self.add_module(f"layer{number}", layer)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(before, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        maps = self.relu(self.bn1(self.conv1(images)))
        for layer in ("layer1", "layer2", "layer3"):
            maps = self.get_submodule(layer)(maps)
        return self.linear(self.flatten(self.pool(maps)))  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """Stages after their final ReLU; pre-activations are the sums that enter it."""
        return {
            "stem": "relu",
            "stages": ["layer1", "layer2", "layer3"],
            "preactivations": [
                f"layer{number}.{count - 1}.relu3:input" for number, (_, count) in enumerate(_STAGES, start=1)
            ],
            "embedding": "linear:input",
        }


_STAGES = ((240, 4), (480, 8), (960, 4))
"""Channels and blocks of each."""
