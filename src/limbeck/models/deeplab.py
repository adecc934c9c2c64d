"""DeepLabV3 over the residual blocks of `limbeck.models.resnet`. Chen et al., 2017, arXiv:1706.05587.

A branch of the spatial pyramid that sees the mean of the whole image has no batch norm, so that a batch may
hold one image.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.models.blocks import conv, conv_unit, initialize
from limbeck.models.inputs import Widths, per_stage
from limbeck.models.resnet import BasicBlock, Bottleneck


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling; (B, before, h, w) to (B, width, h, w).

    Args:
        before: channels of the input.
        width: channels of each branch, and of the output.
        rates: dilations of the branches that are 3x3 convolutions; one more is 1x1, and one the mean.
    """

    def __init__(self, before: int, width: int, rates: Widths) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_unit(before, width, 1)])
        for rate in rates:
            self.branches.append(conv_unit(before, width))
            dilate(self.branches[-1], rate)
        self.mean = nn.Sequential(nn.Conv2d(before, width, 1), nn.ReLU())
        self.project = conv_unit(width * (len(rates) + 2), width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """What the branches see, joined."""
        seen = [branch(maps) for branch in self.branches]
        mean = self.mean(maps.mean((2, 3), keepdim=True)).expand_as(seen[0])
        return self.project(torch.cat([*seen, mean], 1))  # type: ignore[no-any-return]


class DeepLab(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes, h, w) logits, h = H / output_stride rounded up.

    The first convolution and each stage halve the maps, until their stride is `output_stride`; later stages
    dilate their convolutions instead.

    Args:
        channels: number of channels of each stage.
        blocks: number of blocks of each stage, or of all.
        stem: channels of the first convolution; those of the first stage unless given.
        bottleneck: blocks of three convolutions, which end with four times the stage's channels.
        output_stride: 4, 8, 16 or 32 pixels of the image for one of the logits.
        width: channels of the pyramid.
        rates: dilations in the pyramid at an output stride of 16; at 8 they are doubled, and so on.
        aux: whether an auxiliary head reads the last stage but one. The network then returns a dict, with the
            logits as `out` and those of this head as `aux`.
    """

    def __init__(
        self,
        channels: Widths = (16, 32, 64, 128),
        blocks: Count | Widths = 1,
        stem: Count | None = None,
        bottleneck: bool = False,
        output_stride: Literal[4, 8, 16, 32] = 8,
        width: Count = 64,
        rates: Widths = (6, 12, 18),
        aux: bool = False,
        *,
        in_channels: Count,
        num_classes: Count,
    ) -> None:
        super().__init__()
        counts = per_stage(blocks, len(channels), "deeplab: blocks")
        self.stages = [f"layer{number}" for number in range(1, len(channels) + 1)]
        block = Bottleneck if bottleneck else BasicBlock
        before = stem or channels[0]
        self.conv1 = conv(in_channels, before, stride=2)
        self.bn1 = nn.BatchNorm2d(before)
        self.relu = nn.ReLU()
        stride, rate, ends = 2, 1, [before]
        for stage, inside, count in zip(self.stages, channels, counts, strict=True):
            step = 2 if stride < output_stride else 1
            stride, rate = stride * step, rate if step == 2 else 2 * rate
            layer = nn.Sequential()
            for number in range(count):
                layer.append(block(before, inside, step if number == 0 else 1, "downsample"))
                before = inside * block.expansion
            dilate(layer, rate)
            self.add_module(stage, layer)
            ends.append(before)
        self.aspp = ASPP(before, width, [max(1, 16 * each // output_stride) for each in rates])
        self.unit = conv_unit(width, width)
        self.head = nn.Conv2d(width, num_classes, 1)
        self.aux = _auxiliary(ends[-2], num_classes) if aux else None
        blocks_of = zip(self.stages, counts, strict=True)
        self._last = [f"{stage}.{count - 1}.relu{block.depth}" for stage, count in blocks_of]
        initialize(self)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Logits of the pixels, or those of both heads by name."""
        maps = before = self.relu(self.bn1(self.conv1(images)))
        for stage in self.stages:
            before, maps = maps, self.get_submodule(stage)(maps)
        logits: Tensor = self.head(self.unit(self.aspp(maps)))
        return logits if self.aux is None else {"out": logits, "aux": self.aux(before)}

    def feature_points(self) -> dict[str, str | list[str]]:
        """Stages after their final ReLU, the last of them the pyramid's."""
        return {
            "stem": "relu",
            "stages": [*self.stages, "aspp"],
            "preactivations": [*(f"{relu}:input" for relu in self._last), "aspp.project.relu:input"],
            "embedding": "head:input",
        }


def dilate(module: nn.Module, rate: int) -> None:
    """Sets the dilation of all 3x3 convolutions, with padding that keeps what size they have."""
    for each in module.modules():
        if isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3):
            each.dilation = each.padding = (rate, rate)


def _auxiliary(before: int, num_classes: int) -> nn.Sequential:
    width = max(1, before // 4)
    return nn.Sequential(conv_unit(before, width), nn.Conv2d(width, num_classes, 1))
