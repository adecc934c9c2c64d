"""Multi-layer perceptron. Rumelhart, Hinton & Williams, Nature 323, 1986."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from limbeck.arguments import Count, Share


class MLP(nn.Module):
    """(B, ...) features or pixels, `in_features` a sample, to (B, num_classes) logits.

    Args:
        hidden: widths of the hidden layers, each a stage; with none the network is linear.
        dropout: share of the hidden units silenced in training.
    """

    def __init__(
        self,
        hidden: Sequence[Count] = (64, 64),
        dropout: Share = 0.0,
        *,
        in_features: Count,
        num_classes: Count,
    ) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.layers = nn.Sequential()
        for width in hidden:
            linear = nn.Linear(in_features, width)
            parts = OrderedDict(linear=linear, relu=nn.ReLU(), dropout=nn.Dropout(dropout))
            self.layers.append(nn.Sequential(parts))
            in_features = width
        self.classifier = nn.Linear(in_features, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits of the samples."""
        return self.classifier(self.layers(self.flatten(inputs)))  # type: ignore[no-any-return]

    def feature_points(self) -> dict[str, str | list[str]]:
        """Hidden layers before their dropout, which adds noise and no information."""
        stages = [f"layers.{position}.relu" for position in range(len(self.layers))]
        return {
            "stages": stages,
            "preactivations": [f"layers.{position}.linear" for position in range(len(self.layers))],
            "embedding": stages[-1] if stages else "flatten",
        }
