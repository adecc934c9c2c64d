"""An anchor-free detector over residual blocks. After Tian et al., FCOS, ICCV 2019, arXiv:1904.01355.

As in the paper, a pyramid (Lin et al., CVPR 2017, arXiv:1612.03144) has one head for all its levels, which
answers at each position with classes, a box and how central in it the position is. What differs, for small
networks: the pyramid has batch norms, its levels are stages of the backbone alone, the classes are a softmax
with the background among them, and the last layers are 1x1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.errors import LimbeckError
from limbeck.models.blocks import conv, conv_unit, initialize
from limbeck.models.inputs import Widths, per_stage
from limbeck.models.resnet import BasicBlock, Bottleneck

RARE = 0.01
"""How likely a place has an object, to a head that has not learned yet."""


class Pyramid(nn.Module):
    """Maps of several stages brought to one width, each with what the coarser ones know.

    Args:
        before: channels of each stage, the finest first.
        width: channels of each level.
    """

    def __init__(self, before: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in before)
        self.smooth = nn.ModuleList(conv_unit(width, width) for _ in before)

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """The levels, the finest first."""
        levels = [lateral(maps) for lateral, maps in zip(self.lateral, stages, strict=True)]
        for at in reversed(range(len(levels) - 1)):
            levels[at] = levels[at] + F.interpolate(levels[at + 1], size=levels[at].shape[2:], mode="nearest")
        return [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]


class FCOS(nn.Module):
    """(B, in_channels, H, W) pixels to a dict of what there is at each of L places, the finest level first.

    `logits` (B, L, num_classes), the last of them for no object; `boxes` (B, L, 4) x1, y1, x2, y2 in pixels;
    `centerness` (B, L), a logit; `places` (B, L, 3) x, y and stride in pixels of each place. The first
    convolution and each stage halve the maps, rounded up. Objects are what
    `limbeck.tasks.detection.decoding.objects` makes of it.

    Args:
        channels: number of channels of each stage.
        blocks: number of blocks of each stage, or of all.
        stem: channels of the first convolution; those of the first stage unless given.
        bottleneck: blocks of three convolutions, which end with four times the stage's channels.
        levels: how many of the last stages the pyramid has.
        width: channels of the pyramid and of the head.
        towers: convolutions of the head before its last layers, for classes and for boxes each.
    """

    def __init__(
        self,
        channels: Widths = (16, 32, 64, 128),
        blocks: Count | Widths = 1,
        stem: Count | None = None,
        bottleneck: bool = False,
        levels: Count = 3,
        width: Count = 64,
        towers: Count = 1,
        *,
        in_channels: Count,
        num_classes: Count,
    ) -> None:
        super().__init__()
        if levels > len(channels):
            raise LimbeckError(
                f"fcos: a pyramid of {levels} levels needs as many stages, not {len(channels)}"
            )
        counts = per_stage(blocks, len(channels), "fcos: blocks")
        self.stages = [f"layer{number}" for number in range(1, len(channels) + 1)]
        self.strides = [2 ** (number + 2) for number in range(len(channels))][-levels:]
        block = Bottleneck if bottleneck else BasicBlock
        before, ends = stem or channels[0], list[int]()
        self.conv1 = conv(in_channels, before, stride=2)
        self.bn1 = nn.BatchNorm2d(before)
        self.relu = nn.ReLU()
        for stage, inside, count in zip(self.stages, channels, counts, strict=True):
            layer = nn.Sequential()
            for number in range(count):
                layer.append(block(before, inside, 2 if number == 0 else 1, "downsample"))
                before = inside * block.expansion
            self.add_module(stage, layer)
            ends.append(before)
        self.pyramid = Pyramid(ends[-levels:], width)
        self.class_tower, self.box_tower = _tower(width, towers), _tower(width, towers)
        initialize(self)
        self.classes = nn.Linear(width, num_classes)
        self.sides = nn.Linear(width, 4)
        self.center = nn.Linear(width, 1)
        self.scales = nn.Parameter(torch.ones(levels))
        for last in (self.classes, self.sides, self.center):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)
        with torch.no_grad():
            self.classes.bias[-1] = math.log((num_classes - 1) * (1 - RARE) / RARE)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """What there is at each place."""
        maps, stages = self.relu(self.bn1(self.conv1(images))), list[Tensor]()
        for stage in self.stages:
            maps = self.get_submodule(stage)(maps)
            stages.append(maps)
        levels = self.pyramid(stages[-len(self.strides) :])
        embedding = torch.cat([_by_place(self.class_tower(level)) for level in levels], 1)
        boxed = [_by_place(self.box_tower(level)) for level in levels]
        places = torch.cat(
            [_places(level, stride) for level, stride in zip(levels, self.strides, strict=True)]
        )
        sides = torch.cat(
            [
                F.softplus(self.sides(each) * self.scales[at]) * stride
                for at, (each, stride) in enumerate(zip(boxed, self.strides, strict=True))
            ],
            1,
        )
        where = places[:, :2]
        return {
            "logits": self.classes(embedding),
            "boxes": torch.cat([where - sides[..., :2], where + sides[..., 2:]], -1),
            "centerness": self.center(torch.cat(boxed, 1))[..., 0],
            "places": places.expand(images.shape[0], -1, -1),
        }

    def feature_points(self) -> dict[str, str | list[str]]:
        """The stages are the levels of the pyramid, the finest first; the embedding is by place."""
        levels = [f"pyramid.smooth.{number}" for number in range(len(self.strides))]
        return {
            "stem": "relu",
            "stages": levels,
            "preactivations": [f"{level}.relu:input" for level in levels],
            "embedding": "classes:input",
        }


def _tower(width: int, count: int) -> nn.Sequential:
    """Convolutions that all levels share; group norm, because levels differ in their statistics."""
    groups = math.gcd(8, width)
    parts = [(conv(width, width), nn.GroupNorm(groups, width), nn.ReLU()) for _ in range(count)]
    return nn.Sequential(*(each for part in parts for each in part))


def _by_place(maps: Tensor) -> Tensor:
    """(B, C, h, w) as (B, h * w, C)."""
    return maps.flatten(2).transpose(1, 2)


def _places(level: Tensor, stride: int) -> Tensor:
    """(h * w, 3) x, y and stride of the middle of each position of a level."""
    rows, columns = (
        (torch.arange(side, device=level.device, dtype=level.dtype) + 0.5) * stride
        for side in level.shape[2:]
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, stride)], -1).flatten(0, 1)
