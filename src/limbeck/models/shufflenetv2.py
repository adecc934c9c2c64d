"""ShuffleNetV2 for small images. Ma, Zhang, Zheng & Sun, ECCV 2018, arXiv:1807.11164; size 1.

Function and weight keys are those of the distillation benchmarks. Unlike the paper's, the stem is a 1x1
convolution without pooling.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.models.blocks import conv
from limbeck.models.inputs import Size, sides


class ShuffleUnit(nn.Module):
    """Half of the channels goes through three convolutions, 1x1, depthwise 3x3 and 1x1; the shape stays."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = conv(half, half, 1)
        self.bn1 = nn.BatchNorm2d(half)
        self.relu1 = nn.ReLU()
        self.conv2 = conv(half, half, groups=half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = conv(half, half, 1)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, one unit on; the half that passes is not negative, so a ReLU of both leaves it."""
        passing, changing = maps.chunk(2, dim=1)
        changed = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(changing)))))
        changed = self.bn3(self.conv3(changed))
        return F.channel_shuffle(self.relu(torch.cat([passing, changed], dim=1)), 2)


class HalvingUnit(nn.Module):
    """Two branches, each with a depthwise convolution of stride 2; (B, before, H, W) to (B, after, ...)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        half = after // 2
        self.conv1 = conv(before, before, stride=2, groups=before)
        self.bn1 = nn.BatchNorm2d(before)
        self.conv2 = conv(before, half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = conv(before, half, 1)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu3 = nn.ReLU()
        self.conv4 = conv(half, half, stride=2, groups=half)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = conv(half, half, 1)
        self.bn5 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, one unit on."""
        left = self.bn2(self.conv2(self.bn1(self.conv1(maps))))
        right = self.bn4(self.conv4(self.relu3(self.bn3(self.conv3(maps)))))
        right = self.bn5(self.conv5(right))
        return F.channel_shuffle(self.relu(torch.cat([left, right], dim=1)), 2)


class ShuffleNetV2(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes) logits; each of the three stages halves the maps."""

    def __init__(self, *, in_channels: Count, size: Size, num_classes: Count) -> None:
        super().__init__()
        sides(size, 8, "shufflenetv2")
        self.conv1 = conv(in_channels, 24, 1)
        self.bn1 = nn.BatchNorm2d(24)
        self.relu1 = nn.ReLU()
        before = 24
        for number, (after, count) in enumerate(_STAGES, start=1):
            layer = nn.Sequential(HalvingUnit(before, after), *(ShuffleUnit(after) for _ in range(count)))
            self.add_module(f"layer{number}", layer)
            before = after
        self.conv2 = conv(before, 1024, 1)
        self.bn2 = nn.BatchNorm2d(1024)
        self.relu2 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(1024, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        maps = self.relu1(self.bn1(self.conv1(images)))
        for layer in ("layer1", "layer2", "layer3"):
            maps = self.get_submodule(layer)(maps)
        maps = self.relu2(self.bn2(self.conv2(maps)))
        return self.linear(self.flatten(self.pool(maps)))  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """Stages after their last shuffle; pre-activations before it, with other channels side by side."""
        return {
            "stem": "relu1",
            "stages": ["layer1", "layer2", "layer3"],
            "preactivations": [
                f"layer{number}.{count}.relu:input" for number, (_, count) in enumerate(_STAGES, start=1)
            ],
            "embedding": "linear:input",
        }


_STAGES = ((116, 3), (232, 7), (464, 3))
"""Channels of each, and units that leave the shape."""
