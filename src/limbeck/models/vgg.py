"""VGG with batch norm, for small images. Simonyan & Zisserman, ICLR 2015, arXiv:1409.1556.

Function and weight keys are those of the distillation benchmarks: five blocks and one linear layer.
"""

from __future__ import annotations

from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.models.blocks import initialize
from limbeck.models.inputs import Size, Widths, per_stage, sides


class VGG(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes) logits; the default is vgg8 of the benchmarks.

    A block is `depth` times convolution 3x3, batch norm, ReLU. Max-pooling halves the maps between blocks;
    before the last it does so only where images are 64 x 64.

    Args:
        channels: number of channels of each block.
        depth: convolutions of each block, or of all.
    """

    def __init__(
        self,
        channels: Widths = (64, 128, 256, 512, 512),
        depth: Count | Widths = 1,
        *,
        in_channels: Count,
        size: Size,
        num_classes: Count,
    ) -> None:
        super().__init__()
        sides(size, 2 ** max(len(channels) - 2, 0), f"vgg with {len(channels)} blocks")
        self.depths = per_stage(depth, len(channels), "vgg: depth")
        before = in_channels
        for number, (after, count) in enumerate(zip(channels, self.depths, strict=True)):
            units: list[nn.Module] = []
            for _ in range(count):
                units += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
                before = after
            self.add_module(f"block{number}", nn.Sequential(*units[:-1]))
            self.add_module(f"relu{number}", units[-1])
        self.halve = nn.MaxPool2d(2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(before, num_classes)
        initialize(self)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        maps, last = images, len(self.depths) - 1
        for number in range(len(self.depths)):
            if number and (number < last or images.shape[2:] == (64, 64)):
                maps = self.halve(maps)
            maps = self.get_submodule(f"relu{number}")(self.get_submodule(f"block{number}")(maps))
        return self.classifier(self.flatten(self.pool(maps)))  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """The first block is the stem; stages are the others after their last ReLU, before their pooling."""
        numbers = range(1, len(self.depths))
        return {
            "stem": "relu0",
            "stages": [f"relu{number}" for number in numbers],
            "preactivations": [f"block{number}" for number in numbers],
            "embedding": "classifier:input",
        }
