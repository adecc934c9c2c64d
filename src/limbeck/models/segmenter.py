"""A network that labels pixels: a trunk, a head, and maybe an auxiliary head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from limbeck.models.blocks import conv_unit, initialize
from limbeck.models.trunks import Trunk


class Head(nn.Module):
    """From the maps of a trunk's stages to logits (B, num_classes, h, w); `logits` is its last layer.

    Attributes:
        top: path of a module whose output is the stage behind those of the trunk.
        below: path of what enters the last ReLU of that module.
    """

    logits: nn.Conv2d
    top: str
    below: str

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits of positions."""
        raise NotImplementedError


class Segmenter(nn.Module):
    """(B, in_channels, H, W) pixels to (B, num_classes, h, w) logits.

    Args:
        trunk: what looks at the images.
        head: what makes logits of its maps.
        aux: whether an auxiliary head reads the last stage but one. The network then returns a dict, with the
            logits as `out` and those of this head as `aux`.
    """

    def __init__(self, trunk: Trunk, head: Head, aux: bool) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head
        before = trunk.channels[-2:][0]
        self.aux = auxiliary(before, head.logits.out_channels) if aux else None
        for part in (None if trunk.initialized else trunk, head, self.aux):
            if part is not None:
                initialize(part)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Logits of the pixels, or those of both heads by name."""
        maps = self.trunk(images)
        logits: Tensor = self.head(maps)
        return logits if self.aux is None else {"out": logits, "aux": self.aux(maps[-2:][0])}

    def feature_points(self) -> dict[str, str | list[str]]:
        """The stages of the trunk, and behind them what the head makes of the deepest."""
        return {
            "stem": "trunk.stem",
            "stages": [*(f"trunk.{path}" for path in self.trunk.paths), f"head.{self.head.top}"],
            "preactivations": [*(f"trunk.{path}" for path in self.trunk.below), f"head.{self.head.below}"],
            "embedding": "head.logits:input",
        }


def auxiliary(before: int, num_classes: int) -> nn.Sequential:
    """A head of its own for maps on the way: (B, before, H, W) to logits (B, num_classes, H, W)."""
    width = max(1, before // 4)
    return nn.Sequential(conv_unit(before, width), nn.Conv2d(width, num_classes, 1))
