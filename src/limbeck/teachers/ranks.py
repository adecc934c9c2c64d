"""How a cache keeps what a language model says of each token: the most probable next ones, and the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from limbeck.projection import SCORES
from limbeck.ranked import Ranked

TOP = 64
"""Most probable tokens that are kept of each position, unless somebody says other."""

LEAST = -1e4
"""What stands for the logarithm of a probability of 0: float16 holds it, and its exponential is 0."""


@dataclass(frozen=True)
class Ranks:
    """The layout of what is kept of a sample: words of 16 bits, position after position.

    A position takes k words of float16 for the log-probabilities, k for the lower 16 bits of the ids, one for
    each 16 of the higher bits, and one for the log-probability of all other tokens: 274 bytes with k = 64 and
    a vocabulary of 152,064.

    Args:
        top: k, a multiple of 16, at most the vocabulary.
        length: positions of a sample.
        width: V, the tokens there are.
    """

    top: int
    length: int
    width: int

    @classmethod
    def of(cls, top: int, length: int, width: int) -> Ranks:
        """The layout for about so many tokens: the next multiple of 16, but no more than there are."""
        return cls(min(-(-top // 16) * 16, width), length, width)

    @property
    def planes(self) -> int:
        """Bits of an id beyond the lower 16."""
        return max(0, (self.width - 1).bit_length() - 16)

    @property
    def words(self) -> int:
        """Words of a position."""
        return 2 * self.top + self.planes * -(-self.top // 16) + 1

    @property
    def size(self) -> int:
        """Words of a sample."""
        return self.length * self.words

    def pack(self, logits: Callable[[Tensor], Tensor], read: Tensor) -> NDArray[np.float16]:
        """What is kept of some samples: (B, size), to be taken for float16.

        Args:
            logits: gives the logits (P, V) at some (P,) of all B x L positions, sample after sample.
            read: (B, L) bool, the positions that hold a token. Of the others, padding, zeros are kept.
        """
        samples, length = read.shape
        kept = torch.zeros((samples * length, self.words), dtype=torch.int16)
        for places in torch.split(read.flatten().nonzero().flatten(), max(1, SCORES // self.width)):
            kept[places.cpu()] = self._packed(logits(places)[:, : self.width].float())
        whole = torch.zeros((samples, self.length, self.words), dtype=torch.int16)
        whole[:, :length] = kept.view(samples, length, self.words)
        words: NDArray[np.float16] = whole.flatten(1).numpy().view(np.float16)
        return words

    def _packed(self, logits: Tensor) -> Tensor:
        """(P, words) int16 of the logits (P, V) of some positions."""
        logs = logits.log_softmax(-1)
        best, ids = logs.topk(self.top, -1)
        others = logs.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
        numbers = torch.cat([best, others], -1).clamp(min=LEAST).half().cpu().view(torch.int16)
        ids = ids.cpu()
        parts = [numbers[:, : self.top], _words(ids & 0xFFFF)]
        for plane in range(self.planes):
            bits = ids >> (16 + plane) & 1
            padded = F.pad(bits, (0, -self.top % 16)).view(len(bits), -1, 16)
            parts.append(_words((padded << torch.arange(16)).sum(-1)))
        return torch.cat([*parts, numbers[:, self.top :]], 1)

    def unpack(self, kept: Tensor, length: int) -> Ranked:
        """What is known of the first L positions of some samples: `Ranked` (B, L, ...), in float32.

        Args:
            kept: (B, size) float16, as `pack` gave it.
            length: L.
        """
        words = kept.view(torch.int16).view(-1, self.length, self.words)[:, :length]
        numbers = words[..., : self.top].contiguous().view(torch.float16)
        ids = words[..., self.top : 2 * self.top].long() & 0xFFFF
        each = -(-self.top // 16)
        for plane in range(self.planes):
            start = 2 * self.top + plane * each
            held = words[..., start : start + each].long() & 0xFFFF
            bits = held.unsqueeze(-1) >> torch.arange(16, device=held.device) & 1
            ids = ids + (bits.flatten(-2)[..., : self.top] << (16 + plane))
        tail = words[..., -1:].contiguous().view(torch.float16)
        return Ranked(ids, numbers.float(), tail.float(), self.width)


def _words(numbers: Tensor) -> Tensor:
    """Numbers below 2**16 as the int16 of the same bits."""
    return torch.where(numbers < 1 << 15, numbers, numbers - (1 << 16)).to(torch.int16)
