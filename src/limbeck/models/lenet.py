"""LeNet-5, with ReLU and max-pooling. LeCun, Bottou, Bengio & Haffner, Proceedings of the IEEE 86, 1998."""

from __future__ import annotations

from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.models.inputs import Size, sides


class LeNet5(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes) logits; 61,706 parameters at 1x32x32 and 10 classes.

    Images of 28 pixels a side are padded to 32, as the paper does; those under 16 leave nothing to pool.
    """

    def __init__(self, *, in_channels: Count, size: Size, num_classes: Count) -> None:
        super().__init__()
        height, width = sides(size, 16, "lenet5")
        pad_height, pad_width = (2 if side == 28 else 0 for side in (height, width))
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=(pad_height, pad_width))
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(16 * _pooled(height + 2 * pad_height) * _pooled(width + 2 * pad_width), 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        maps = self.pool1(self.relu1(self.conv1(images)))
        maps = self.pool2(self.relu2(self.conv2(maps)))
        hidden = self.relu3(self.fc1(self.flatten(maps)))
        return self.fc3(self.relu4(self.fc2(hidden)))  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """Stages before their pooling; nothing but the image enters the first, so there is no stem."""
        return {
            "stages": ["relu1", "relu2"],
            "preactivations": ["conv1", "conv2"],
            "embedding": "fc3:input",
        }


def _pooled(side: int) -> int:
    """Pixels a side after convolution 5x5 and pooling, twice."""
    return ((side - 4) // 2 - 4) // 2
