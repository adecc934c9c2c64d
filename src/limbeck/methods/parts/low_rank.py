"""Low-rank additions to the linear layers of a network. Hu et al., ICLR 2022, arXiv:2106.09685."""

from __future__ import annotations

import math

from torch import Tensor, nn


class Addition(nn.Module):
    """(alpha / r) B A x, which is zero at first.

    Args:
        layer: the linear layer that it is added to.
        rank: r.
        alpha: its factor.
    """

    def __init__(self, layer: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.down = nn.Parameter(layer.weight.new_empty(rank, layer.in_features))
        self.up = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return self.scale * (x @ self.down.T @ self.up.T)


class LowRank(nn.Module):
    """A linear layer with an addition."""

    def __init__(self, layer: nn.Linear, addition: Addition) -> None:
        super().__init__()
        self.layer, self.addition = layer, addition

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        plain: Tensor = self.layer(x) + self.addition(x)
        return plain


def add_to(network: nn.Module, rank: int, alpha: float, *, but: str) -> nn.ModuleList:
    """Freezes a network, and adds to all its linear layers.

    Args:
        network: the network, which is changed.
        rank: of the additions.
        alpha: their factor.
        but: module path of a layer that gets none, such as the head.
    Returns: the additions, which learn; empty if there is no linear layer.
    """
    network.requires_grad_(False)
    found = [(path, each) for path, each in network.named_modules() if type(each) is nn.Linear]
    additions = nn.ModuleList()
    for path, layer in found:
        if path != but:
            addition = Addition(layer, rank, alpha)
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, LowRank(layer, addition))
            additions.append(addition)
    return additions
