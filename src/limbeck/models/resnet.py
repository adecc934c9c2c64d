"""Residual networks in their CIFAR form. He, Zhang, Ren & Sun, CVPR 2016, arXiv:1512.03385, section 4.2.

Where the shape changes, the shortcut is a 1x1 convolution with batch norm (the paper's option B). Function
and weight keys are those of the distillation benchmarks.
"""

from __future__ import annotations

from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.models.blocks import initialise
from limbeck.models.inputs import Size, Widths, sides


class BasicBlock(nn.Module):
    """Two convolutions 3x3 and a shortcut; (B, before, H, W) to the stride divides (H, W), rounded up."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or before != after:
            conv = nn.Conv2d(before, after, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(after))
        self.relu2 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, one block on."""
        shortcut = maps if self.downsample is None else self.downsample(maps)
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(maps)))))
        return self.relu2(residual + shortcut)  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes) logits; the default is resnet8 of the benchmarks.

    Args:
        channels: of each stage; every stage but the first halves the maps.
        blocks: of each stage.
        stem: channels of the first convolution; those of the first stage unless given.
    """

    def __init__(
        self,
        channels: Widths = (16, 32, 64),
        blocks: Count = 1,
        stem: Count | None = None,
        *,
        in_channels: Count,
        size: Size,
        num_classes: Count,
    ) -> None:
        super().__init__()
        sides(size, 2 ** (len(channels) - 1), f"resnet with {len(channels)} stages")
        self.stages = [f"layer{number}" for number in range(1, len(channels) + 1)]
        self.blocks = blocks
        before = stem or channels[0]
        self.conv1 = nn.Conv2d(in_channels, before, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(before)
        self.relu = nn.ReLU()
        for stage, width in zip(self.stages, channels, strict=True):
            layer = nn.Sequential()
            for block in range(blocks):
                layer.append(BasicBlock(before, width, stride=2 if block == 0 and stage != "layer1" else 1))
                before = width
            self.add_module(stage, layer)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(before, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        maps = self.relu(self.bn1(self.conv1(images)))
        for stage in self.stages:
            maps = self.get_submodule(stage)(maps)
        return self.fc(self.flatten(self.pool(maps)))  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """Stages after their final ReLU; pre-activations are the sums that enter it."""
        return {
            "stem": "relu",
            "stages": [*self.stages],
            "preactivations": [f"{stage}.{self.blocks - 1}.relu2:input" for stage in self.stages],
            "embedding": "fc:input",
        }
