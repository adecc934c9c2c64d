"""Depthwise separable convolutions: MobileNets (Howard et al., arXiv:1704.04861), for small images."""

from __future__ import annotations

from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.models.blocks import conv_unit, initialize
from limbeck.models.inputs import Size, Widths, sides


class DSCNN(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes) logits.

    A stem of one convolution 3x3, then stages of `depth` pairs: a 3x3 depthwise and a 1x1 convolution, each
    with batch norm and ReLU. Every stage but the first halves the maps.

    Args:
        channels: number of channels of each stage; the stem has those of the first.
        depth: pairs of a stage.
    """

    def __init__(
        self,
        channels: Widths = (16, 32, 64),
        depth: Count = 1,
        *,
        in_channels: Count,
        size: Size,
        num_classes: Count,
    ) -> None:
        super().__init__()
        sides(size, 2 ** (len(channels) - 1), f"dscnn with {len(channels)} stages")
        self.depth = depth
        self.stem = conv_unit(in_channels, channels[0])
        self.stages = nn.ModuleList()
        before = channels[0]
        for position, width in enumerate(channels):
            units = []
            for pair in range(depth):
                units.append(
                    conv_unit(before, before, stride=2 if position and not pair else 1, groups=before)
                )
                units.append(conv_unit(before, width, 1))
                before = width
            self.stages.append(nn.Sequential(*units))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(before, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        maps = self.stem(images)
        for stage in self.stages:
            maps = stage(maps)
        return self.classifier(self.flatten(self.pool(maps)))  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """Stages after their last ReLU."""
        stages = [f"stages.{position}" for position in range(len(self.stages))]
        return {
            "stem": "stem",
            "stages": stages,
            "preactivations": [f"{stage}.{2 * self.depth - 1}.bn" for stage in stages],
            "embedding": "classifier:input",
        }
