"""The network families of the CRD benchmark in small: how their authors wrote them, with their own features.

Each gives `features(x)`: the stem, the stages, and the input of the classifier, and after them the logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Benchmark(nn.Module):
    def features(self, x: Tensor) -> list[Tensor]:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)[-1]


def conv(entering: int, leaving: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(entering, leaving, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, entering: int, width: int, stride: int, functional: bool) -> None:
        super().__init__()
        self.functional = functional
        self.conv1, self.bn1 = conv(entering, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        changes = stride != 1 or entering != width
        self.downsample = (
            nn.Sequential(conv(entering, width, 1, stride), nn.BatchNorm2d(width)) if changes else None
        )

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        if self.functional:
            return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + residual)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += residual
        return self.relu(out)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    def __init__(self, entering: int, width: int, stride: int, functional: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(entering, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.shortcut = nn.Sequential()
        if stride != 1 or entering != 4 * width:
            self.shortcut = nn.Sequential(conv(entering, 4 * width, 1, stride), nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += self.shortcut(x)
        return F.relu(out)


class ResNet(Benchmark):
    """Families R (modules in place) and B (functional)."""

    def __init__(
        self,
        widths: Sequence[int],
        blocks: int,
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock,
        functional: bool = False,
    ) -> None:
        super().__init__()
        self.functional = functional
        self.conv1, self.bn1 = conv(3, widths[0], 3), nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.stages, entering = [], widths[0]
        for stage, width in enumerate(widths[1:], start=1):
            layers: list[nn.Module] = []
            for number in range(blocks):
                layers.append(block(entering, width, 2 if stage > 1 and number == 0 else 1, functional))
                entering = 4 * width if block is Bottleneck else width
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
            self.stages.append(f"layer{stage}")
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(entering, 5)

    def features(self, x: Tensor) -> list[Tensor]:
        x = F.relu(self.bn1(self.conv1(x))) if self.functional else self.relu(self.bn1(self.conv1(x)))
        features = [x]
        for name in self.stages:
            x = self.get_submodule(name)(x)
            features.append(x)
        x = F.avg_pool2d(x, x.shape[-1]) if self.functional else self.avgpool(x)
        x = x.view(x.size(0), -1)
        return [*features, x, self.fc(x)]


class WideBlock(nn.Module):
    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.relu1 = nn.BatchNorm2d(entering), nn.ReLU(inplace=True)
        self.conv1 = conv(entering, width, 3, stride)
        self.bn2, self.relu2 = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv2 = conv(width, width, 3)
        self.same = entering == width
        self.shortcut = None if self.same else conv(entering, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        if not self.same:
            x = self.relu1(self.bn1(x))
            out = x
        else:
            out = self.relu1(self.bn1(x))
        out = self.conv2(F.dropout(self.relu2(self.bn2(self.conv1(out))), 0.0, self.training))
        return torch.add(x if self.shortcut is None else self.shortcut(x), out)


class WideGroup(nn.Module):
    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(WideBlock(entering, width, stride), WideBlock(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)  # type: ignore[no-any-return]


class WideResNet(Benchmark):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = conv(3, 4, 3)
        self.block1 = WideGroup(4, 4 * width, 1)
        self.block2 = WideGroup(4 * width, 8 * width, 2)
        self.block3 = WideGroup(8 * width, 16 * width, 2)
        self.bn1, self.relu = nn.BatchNorm2d(16 * width), nn.ReLU(inplace=True)
        self.fc = nn.Linear(16 * width, 5)

    def features(self, x: Tensor) -> list[Tensor]:
        stem = self.conv1(x)
        first = self.block1(stem)
        second = self.block2(first)
        third = self.block3(second)
        out = F.avg_pool2d(self.relu(self.bn1(third)), x.shape[-1] // 4)
        out = out.view(-1, self.fc.in_features)
        return [stem, first, second, third, out, self.fc(out)]


class VGG(Benchmark):
    def __init__(self, convolutions: Sequence[int]) -> None:
        super().__init__()
        widths = (3, 4, 8, 16, 16, 20)
        for block, count in enumerate(convolutions):
            layers: list[nn.Module] = []
            for number in range(count):
                entering = widths[block] if number == 0 else widths[block + 1]
                layers += [
                    nn.Conv2d(entering, widths[block + 1], 3, padding=1),
                    nn.BatchNorm2d(widths[block + 1]),
                ]
                layers += [nn.ReLU(inplace=True)] if number < count - 1 else []
            self.add_module(f"block{block}", nn.Sequential(*layers))
        self.pool0, self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.pool3, self.pool4 = nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(20, 5)

    def features(self, x: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for block in range(5):
            x = F.relu(self.get_submodule(f"block{block}")(x))
            features.append(x)
            if block != 3 or x.shape[-1] == 8:
                x = self.get_submodule(f"pool{block}")(x)
        x = x.view(x.size(0), -1)
        return [*features, x, self.classifier(x)]


class InvertedResidual(nn.Module):
    def __init__(self, entering: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = entering * expansion
        self.conv = nn.Sequential(
            conv(entering, wide, 1), nn.BatchNorm2d(wide), nn.ReLU(inplace=True),
            conv(wide, wide, 3, stride, groups=wide), nn.BatchNorm2d(wide), nn.ReLU(inplace=True),
            conv(wide, width, 1), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.adds = stride == 1 and entering == width

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)  # type: ignore[no-any-return]


class MobileNetV2(Benchmark):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(conv(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.blocks = nn.ModuleList()
        entering = 8
        for expansion, width, count, stride in [
            *((1, 4, 1, 1), (6, 6, 2, 1), (6, 8, 3, 2), (6, 10, 2, 2)),
            *((6, 12, 2, 1), (6, 14, 2, 2), (6, 16, 1, 1)),
        ]:
            blocks = [InvertedResidual(entering, width, stride, expansion)]
            blocks += [InvertedResidual(width, width, 1, expansion) for _ in range(count - 1)]
            self.blocks.append(nn.Sequential(*blocks))
            entering = width
        self.conv2 = nn.Sequential(conv(16, 64, 1), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
        self.avgpool = nn.AvgPool2d(2, ceil_mode=True)
        self.classifier = nn.Sequential(nn.Linear(64, 5))

    def features(self, x: Tensor) -> list[Tensor]:
        features = [self.conv1(x)]
        for block in self.blocks:
            features.append(block(features[-1]))
        pooled = self.avgpool(self.conv2(features[-1]))
        pooled = pooled.view(pooled.size(0), -1)
        stages = [features[number] for number in (2, 3, 5, 7)]
        return [features[0], *stages, pooled, self.classifier(pooled)]


def shuffled(x: Tensor, groups: int) -> Tensor:
    batch, channels, height, width = x.size()
    return x.view(batch, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


class ShuffleBlock1(nn.Module):
    def __init__(self, entering: int, leaving: int, stride: int, groups: int) -> None:
        super().__init__()
        self.stride, self.groups, middle = stride, groups, leaving // 4 // 3 * 3
        self.conv1, self.bn1 = conv(entering, middle, 1, groups=groups), nn.BatchNorm2d(middle)
        self.conv2, self.bn2 = conv(middle, middle, 3, stride, groups=middle), nn.BatchNorm2d(middle)
        self.conv3, self.bn3 = conv(middle, leaving, 1, groups=3), nn.BatchNorm2d(leaving)
        self.shortcut = nn.AvgPool2d(3, 2, 1) if stride == 2 else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        out = shuffled(F.relu(self.bn1(self.conv1(x))), self.groups)
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)))))
        residual = self.shortcut(x)
        return F.relu(torch.cat([out, residual], 1) if self.stride == 2 else out + residual)


class ShuffleBlock2(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = conv(half, half, 1), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = conv(half, half, 3, groups=half), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = conv(half, half, 1), nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(second)))))
        return shuffled(torch.cat([first, F.relu(self.bn3(self.conv3(out)))], 1), 2)


class ShuffleDown2(nn.Module):
    def __init__(self, entering: int, width: int) -> None:
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = conv(entering, entering, 3, 2, groups=entering), nn.BatchNorm2d(entering)
        self.conv2, self.bn2 = conv(entering, half, 1), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = conv(entering, half, 1), nn.BatchNorm2d(half)
        self.conv4, self.bn4 = conv(half, half, 3, 2, groups=half), nn.BatchNorm2d(half)
        self.conv5, self.bn5 = conv(half, half, 1), nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        left = F.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        right = self.bn4(self.conv4(F.relu(self.bn3(self.conv3(x)))))
        return shuffled(torch.cat([left, F.relu(self.bn5(self.conv5(right)))], 1), 2)


class ShuffleNet(Benchmark):
    def __init__(self, version: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv(3, 12, 1), nn.BatchNorm2d(12)
        entering = 12
        for stage, width in enumerate([24, 48, 96], start=1):
            if version == 1:
                groups = 1 if stage == 1 else 3
                down: nn.Module = ShuffleBlock1(entering, width - entering, 2, groups)
                rest: list[nn.Module] = [ShuffleBlock1(width, width, 1, 3) for _ in range(2)]
            else:
                down = ShuffleDown2(entering, width)
                rest = [ShuffleBlock2(width) for _ in range(2)]
            self.add_module(f"layer{stage}", nn.Sequential(down, *rest))
            entering = width
        self.version = version
        if version == 2:
            self.conv2, self.bn2 = conv(96, 128, 1), nn.BatchNorm2d(128)
            entering = 128
        self.linear = nn.Linear(entering, 5)

    def features(self, x: Tensor) -> list[Tensor]:
        features = [F.relu(self.bn1(self.conv1(x)))]
        for stage in (1, 2, 3):
            features.append(self.get_submodule(f"layer{stage}")(features[-1]))
        out = features[-1] if self.version == 1 else F.relu(self.bn2(self.conv2(features[-1])))
        out = F.avg_pool2d(out, 4)
        out = out.view(out.size(0), -1)
        return [*features, out, self.linear(out)]
