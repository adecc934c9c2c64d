"""FSRCNN. Dong et al., ECCV 2016, arXiv:1608.00367; with the enlarged input added to its answer.

The paper's network has no such addition (`residual=false`), and sees the luma alone; here it sees as many
channels as images have.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.models.edsr import enlarged


class FSRCNN(nn.Module):
    """(B, in_channels, H, W) pixels in [0, 1] to (B, num_classes, scale * H, scale * W).

    Args:
        width: channels of the maps at the beginning and at the end, d in the paper.
        inner: channels of the maps between them, s.
        depth: number of convolutions on these, m.
        scale: factor of enlargement along each side.
        residual: whether the input, enlarged bilinearly, is added to the answer, where it has as many
            channels.
    """

    def __init__(
        self,
        width: Count = 56,
        inner: Count = 12,
        depth: Count = 4,
        scale: Count = 2,
        residual: bool = True,
        *,
        in_channels: Count,
        num_classes: Count,
    ) -> None:
        super().__init__()
        self.scale, self.residual = scale, residual and in_channels == num_classes
        self.extract = _unit(in_channels, width, 5)
        self.shrink = _unit(width, inner, 1)
        self.map = nn.Sequential(*(_unit(inner, inner, 3) for _ in range(depth)))
        self.expand = _unit(inner, width, 1)
        self.head = nn.ConvTranspose2d(width, num_classes, 9, scale, padding=4, output_padding=scale - 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan = module.out_channels * module.weight[0, 0].numel()
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan))
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """The enlarged images; nothing keeps them in [0, 1]."""
        answer: Tensor = self.head(self.expand(self.map(self.shrink(self.extract(images)))))
        return answer + enlarged(images, self.scale) if self.residual else answer

    def feature_points(self) -> dict[str, str | list[str]]:
        """What each part but the last gives, at the resolution of the input."""
        return {
            "stem": "extract",
            "stages": ["shrink", "map", "expand"],
            "embedding": "head:input",
        }


def _unit(before: int, after: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.PReLU(after))
