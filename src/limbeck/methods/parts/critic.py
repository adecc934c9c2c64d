"""A critic of maps: a score for each, which tells the teacher's from the student's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.methods.parts.stages import pooled

_WIDTH = 64
_SLOPE = 0.1


class SelfAttention(nn.Module):
    """Each position adds what it finds at all others. Zhang et al., ICML 2019, arXiv:1805.08318.

    It begins as the identity. (B, width, h, w) to the same.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = (nn.Conv2d(width, width // 8, 1) for _ in range(2))
        self.value = nn.Conv2d(width, width, 1)
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """The maps with what was found."""
        query, key, value = (layer(maps).flatten(2) for layer in (self.query, self.key, self.value))
        found = value @ (query.transpose(1, 2) @ key).softmax(-1).transpose(1, 2)
        joined: Tensor = maps + self.scale * found.view_as(maps)
        return joined


class Critic(nn.Module):
    """Convolutions 4x4 that halve the maps, self-attention behind each of the last two, and a mean score.

    Args:
        classes: of the maps.
        channels: of the images that the maps are of.
        size: height and width of the maps, 2 at least; the smaller one says how often they are halved, 1 to 4
            times.
    """

    def __init__(self, classes: int, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        halvings = max(1, min(4, min(size).bit_length() - 2))
        self.layers = nn.Sequential()
        before = classes + channels
        for number in range(halvings):
            width = _WIDTH << number
            self.layers.append(nn.Conv2d(before, width, 4, stride=2, padding=1))
            self.layers.append(nn.LeakyReLU(_SLOPE))
            if number >= halvings - 2:
                self.layers.append(SelfAttention(width))
            before = width
        self.layers.append(nn.Conv2d(before, 1, 1))

    def forward(self, maps: Tensor, images: Tensor) -> Tensor:
        """(B,) scores of maps (B, classes, h, w) of images (B, channels, H, W)."""
        height, width = maps.shape[2:]
        seen = torch.cat((maps, pooled(images.to(maps), height, width)), 1)
        scores: Tensor = self.layers(seen).mean((1, 2, 3))
        return scores


def steepness(critic: Critic, student: Tensor, teacher: Tensor, images: Tensor, shares: Tensor) -> Tensor:
    """(B,) penalty (|grad D| - 1)^2 at mixtures of both maps. Gulrajani et al. 2017, arXiv:1704.00028.

    Args:
        critic: D.
        student: (B, C, h, w) maps.
        teacher: (B, C, h, w) others.
        images: (B, K, H, W) that they are of.
        shares: (B,) of the teacher's in the mixtures, in [0, 1].
    """
    share = shares[:, None, None, None]
    with torch.enable_grad():
        mixed = (share * teacher + (1 - share) * student).detach().requires_grad_()
        (slope,) = torch.autograd.grad(critic(mixed, images).sum(), mixed, create_graph=True)
    length: Tensor = torch.linalg.vector_norm(slope.flatten(1), dim=1)
    return (length - 1).square()
