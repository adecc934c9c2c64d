"""Residual networks in their CIFAR form. He, Zhang, Ren & Sun, CVPR 2016, arXiv:1512.03385, section 4.2.

Where the shape changes, the shortcut is a 1x1 convolution with batch norm (the paper's option B). Function
and weight keys are those of the distillation benchmarks.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.models.blocks import conv, initialize
from limbeck.models.inputs import Size, Widths, per_stage, sides


class BasicBlock(nn.Module):
    """Two convolutions 3x3; (B, before, H, W) to (B, width, H, W), which the stride divides, rounded up.

    Args:
        before: channels of the input.
        width: width of both convolutions.
        stride: stride of the first.
        shortcut: name of the module that leads round them.
    """

    expansion = 1
    depth = 2

    def __init__(self, before: int, width: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = conv(before, width, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = conv(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut_name = shortcut
        self.add_module(shortcut, _shortcut(before, width, stride))
        self.relu2 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, one block on."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(maps)))))
        return self.relu2(residual + self.get_submodule(self.shortcut_name)(maps))  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """A convolution 3x3 between two 1x1; (B, before, H, W) to (B, 4 * width, H, W), divided by the stride.

    Args:
        before: channels of the input.
        width: width of the first two convolutions.
        stride: stride of the middle one.
        shortcut: name of the module that leads round them.
    """

    expansion = 4
    depth = 3

    def __init__(self, before: int, width: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = conv(before, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = conv(width, width, stride=stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = conv(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut_name = shortcut
        self.add_module(shortcut, _shortcut(before, 4 * width, stride))
        self.relu3 = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """The maps, one block on."""
        residual = self.relu1(self.bn1(self.conv1(maps)))
        residual = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(residual)))))
        return self.relu3(residual + self.get_submodule(self.shortcut_name)(maps))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes) logits; the default is resnet8 of the benchmarks.

    Args:
        channels: number of channels of each stage; every stage but the first halves the maps.
        blocks: number of blocks of each stage, or of all.
        stem: channels of the first convolution; those of the first stage unless given.
        bottleneck: blocks of three convolutions, which end with four times the stage's channels.
        classifier: what the weights of the last layer are called. Benchmark checkpoints have `fc`, with
            shortcuts called `downsample`, or `linear`, with shortcuts called `shortcut`.
    """

    def __init__(
        self,
        channels: Widths = (16, 32, 64),
        blocks: Count | Widths = 1,
        stem: Count | None = None,
        bottleneck: bool = False,
        classifier: Literal["fc", "linear"] = "fc",
        *,
        in_channels: Count,
        size: Size,
        num_classes: Count,
    ) -> None:
        super().__init__()
        sides(size, 2 ** (len(channels) - 1), f"resnet with {len(channels)} stages")
        self.blocks = per_stage(blocks, len(channels), "resnet: blocks")
        self.stages = [f"layer{number}" for number in range(1, len(channels) + 1)]
        self.classifier_name = classifier
        block = Bottleneck if bottleneck else BasicBlock
        self.depth = block.depth
        shortcut = "downsample" if classifier == "fc" else "shortcut"
        before = stem or channels[0]
        self.conv1 = conv(in_channels, before)
        self.bn1 = nn.BatchNorm2d(before)
        self.relu = nn.ReLU()
        for stage, width, count in zip(self.stages, channels, self.blocks, strict=True):
            layer = nn.Sequential()
            for number in range(count):
                stride = 2 if number == 0 and stage != "layer1" else 1
                layer.append(block(before, width, stride, shortcut))
                before = width * block.expansion
            self.add_module(stage, layer)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.add_module(classifier, nn.Linear(before, num_classes))
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        maps = self.relu(self.bn1(self.conv1(images)))
        for stage in self.stages:
            maps = self.get_submodule(stage)(maps)
        return self.get_submodule(self.classifier_name)(self.flatten(self.pool(maps)))  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """Stages after their final ReLU; pre-activations are the sums that enter it."""
        last = [f"{stage}.{count - 1}" for stage, count in zip(self.stages, self.blocks, strict=True)]
        return {
            "stem": "relu",
            "stages": [*self.stages],
            "preactivations": [f"{block}.relu{self.depth}:input" for block in last],
            "embedding": f"{self.classifier_name}:input",
        }


def _shortcut(before: int, after: int, stride: int) -> nn.Sequential:
    """The maps as they are, where the block leaves their shape."""
    if stride == 1 and before == after:
        return nn.Sequential()
    return nn.Sequential(conv(before, after, 1, stride=stride), nn.BatchNorm2d(after))
