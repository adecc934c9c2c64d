"""Plain convolutional networks in the manner of VGG (Simonyan & Zisserman, arXiv:1409.1556)."""

from __future__ import annotations

from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.models.blocks import conv_unit, initialize
from limbeck.models.inputs import Size, Widths, sides


class CNN(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes) logits.

    A stage is `depth` times convolution 3x3, batch norm, ReLU; max-pooling halves the maps between stages.
    The last map is averaged in its four quarters and not as a whole: where the strokes of a digit are is most
    of what a narrow network has to go by.

    Args:
        channels: number of channels of each stage; `[4, 8]` makes 678 parameters at 1x8x8 and 10 classes.
        depth: convolutions of a stage.
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
        height, width = sides(size, 2 ** len(channels), f"cnn with {len(channels)} stages")
        self.depth = depth
        self.stages = nn.ModuleList()
        before = in_channels
        for after in channels:
            units = [conv_unit(after if unit else before, after) for unit in range(depth)]
            self.stages.append(nn.Sequential(*units))
            before = after
        self.pool = nn.MaxPool2d(2)
        height, width = (side // 2 ** (len(channels) - 1) for side in (height, width))
        # nn.AdaptiveAvgPool2d(2), whose gradient is not deterministic on a GPU
        self.quarters = nn.AvgPool2d((-(-height // 2), -(-width // 2)), stride=(height // 2, width // 2))
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(4 * before, num_classes)
        initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        maps = images
        for position, stage in enumerate(self.stages):
            maps = stage(self.pool(maps) if position else maps)
        return self.classifier(self.flatten(self.quarters(maps)))  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """Stages before their pooling; nothing but the image enters the first, so there is no stem."""
        stages = [f"stages.{position}" for position in range(len(self.stages))]
        return {
            "stages": stages,
            "preactivations": [f"{stage}.{self.depth - 1}.bn" for stage in stages],
            "embedding": "classifier:input",
        }
