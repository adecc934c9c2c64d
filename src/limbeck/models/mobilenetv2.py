"""MobileNetV2 for small images. Sandler, Howard, Zhu, Zhmoginov & Chen, CVPR 2018, arXiv:1801.04381.

Function and weight keys are those of the distillation benchmarks. Unlike the paper's, the second stage leaves
the size of the maps, ReLU is the plain one, and nothing is dropped.
"""

from __future__ import annotations

from torch import Tensor, nn

from limbeck.arguments import Count, Positive
from limbeck.models.blocks import conv, initialize
from limbeck.models.inputs import Size, sides

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and stride of each, at width 1."""


class InvertedResidual(nn.Module):
    """Widens by a convolution 1x1, looks around by a depthwise 3x3, and narrows linearly by another 1x1.

    (B, before, H, W) to (B, after, H, W), which the stride divides, rounded up.
    """

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.conv = nn.Sequential(
            conv(before, wide, 1),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            conv(wide, wide, stride=stride, groups=wide),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            conv(wide, after, 1),
            nn.BatchNorm2d(after),
        )
        self.adds = stride == 1 and before == after

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, one block on."""
        return maps + self.conv(maps) if self.adds else self.conv(maps)  # type: ignore[no-any-return]


class MobileNetV2(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes) logits; the default is that of the benchmarks.

    Args:
        width: the channels are the paper's times it, rounded down; the last 1280 only grow.
    """

    def __init__(self, width: Positive = 0.5, *, in_channels: Count, size: Size, num_classes: Count) -> None:
        super().__init__()
        sides(size, 16, "mobilenetv2")
        before, last = max(int(32 * width), 1), int(1280 * max(width, 1))
        self.conv1 = nn.Sequential(conv(in_channels, before, stride=2), nn.BatchNorm2d(before), nn.ReLU())
        self.blocks = nn.ModuleList()
        for expansion, channels, count, stride in STAGES:
            after, stage = max(int(channels * width), 1), nn.Sequential()
            for number in range(count):
                stage.append(InvertedResidual(before, after, 1 if number else stride, expansion))
                before = after
            self.blocks.append(stage)
        self.conv2 = nn.Sequential(conv(before, last, 1), nn.BatchNorm2d(last), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        classifier = nn.Linear(last, num_classes)
        self.classifier = nn.Sequential(classifier)
        initialize(self)
        nn.init.normal_(classifier.weight, std=0.01)
        nn.init.zeros_(classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        maps = self.conv1(images)
        for stage in self.blocks:
            maps = stage(maps)
        return self.classifier(self.flatten(self.pool(self.conv2(maps))))  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """Stages are the last at each size; they are linear, and so their own pre-activations."""
        stages = ["blocks.1", "blocks.2", "blocks.4", "blocks.6"]
        return {"stem": "conv1", "stages": stages, "preactivations": stages, "embedding": "classifier:input"}
