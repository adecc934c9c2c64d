"""Networks of timm that label pixels: a head of limbeck's over the stages of one that tells images apart.

`timm:mobilenetv3_large_100(pretrained=true, head="lraspp")`; timm itself has none.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from limbeck.arguments import Count, checked_arguments
from limbeck.models.deeplab import PyramidHead
from limbeck.models.inputs import Widths
from limbeck.models.lraspp import LightHead
from limbeck.models.segmenter import Head, Segmenter
from limbeck.models.trunks import Trunk
from limbeck.notation import Value


class TimmTrunk(Trunk):
    """The stages of a network of timm, as its `features_only=True` gives them.

    Args:
        network: gives the maps of each stage.
    """

    initialized = True

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.channels = tuple(network.feature_info.channels())
        self.strides = tuple(network.feature_info.reduction())
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        self.stages = nn.ModuleList(nn.Identity() for _ in self.channels)  # modules to find the maps at
        self.paths = self.below = [f"stages.{at}" for at in range(len(self.channels))]

    @property
    def stem(self) -> nn.Module:
        """What ends with the shallowest maps."""
        return self.stages[0]

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of each stage."""
        seen = self.network(images)
        maps = [each.permute(0, 3, 1, 2) for each in seen] if self.channels_last else seen
        return [stage(each) for stage, each in zip(self.stages, maps, strict=True)]


class TimmSegmenter(Segmenter):
    """(B, in_chans, H, W) pixels to (B, num_classes, h, w) logits.

    Args:
        trunk: a `TimmTrunk`.
        head: "deeplab", whose logits have the stride of the last stage, or "lraspp", an eighth of the image.
        width: channels of the head.
        rates: dilations in the pyramid of "deeplab" at a stride of 16; at 8 they are doubled, and so on.
        aux: whether an auxiliary head reads the last stage but one. The network then returns a dict, with the
            logits as `out` and those of this head as `aux`.
        num_classes: number of logits.
    """

    def __init__(
        self,
        trunk: Any,
        head: Literal["deeplab", "lraspp"],
        width: Count = 64,
        rates: Widths = (6, 12, 18),
        aux: bool = False,
        *,
        num_classes: Count,
    ) -> None:
        made: Head = (
            LightHead(trunk, width, num_classes)
            if head == "lraspp"
            else PyramidHead(trunk.channels[-1], width, rates, trunk.strides[-1], num_classes)
        )
        super().__init__(trunk, made, aux)

    def feature_points(self) -> dict[str, str | list[str]]:
        """Those of every segmenter; the stem is the first stage."""
        return {**super().feature_points(), "stem": "trunk.stages.0"}


def segmenter(timm: Any, name: str, arguments: dict[str, Value]) -> nn.Module:
    """A segmenter over a network of timm.

    Args:
        timm: the package.
        name: of the network.
        arguments: `head`, what else `TimmSegmenter` takes, and what timm takes for the network.
    Raises:
        LimbeckError: for an argument of the head with another type, and for stages that it cannot join.
    """
    given: dict[str, Any] = dict(arguments)
    names = ("head", "width", "rates", "aux", "num_classes")
    own: dict[str, Any] = {each: given.pop(each) for each in names if each in given}
    make: Any = TimmSegmenter.__init__
    checked_arguments(f"timm:{name}", make, (None,), own)
    return TimmSegmenter(TimmTrunk(timm.create_model(name, features_only=True, **given)), **own)
