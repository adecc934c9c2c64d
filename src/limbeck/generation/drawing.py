"""How a token is drawn from logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.hashing import mix


@dataclass(frozen=True)
class Drawing:
    """A way to draw tokens: logits are divided by the temperature, and the least likely tokens left out.

    Attributes:
        temperature: T >= 0; 0 takes the most likely token.
        top_p: tokens are drawn from the smallest set of most likely ones whose probabilities add up to at
            least this, in (0, 1].
    """

    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and 0 < self.top_p <= 1):
            raise LimbeckError(
                f"tokens are drawn at a temperature of at least 0 with 0 < top_p <= 1, not at "
                f"{self.temperature} with {self.top_p}"
            )

    def __call__(self, logits: Tensor, given: Tensor) -> Tensor:
        """One token for each row.

        Args:
            logits: (..., V).
            given: (...) uniform numbers in [0, 1). A row's token is where the sum of the probabilities, the
                most likely token first, passes its number, so that the same numbers give the same tokens.
        Returns: (...) int64.
        """
        if self.temperature == 0:
            return logits.argmax(-1)
        whole = logits.to(torch.promote_types(logits.dtype, torch.float32))
        ordered, tokens = whole.sort(dim=-1, descending=True, stable=True)
        shares = (ordered / self.temperature).softmax(-1).cumsum(-1)
        # Of the mass that is kept: all tokens before which the sum has not reached top_p.
        kept = ((shares < self.top_p).sum(-1, keepdim=True)).clamp(max=logits.shape[-1] - 1)
        mass = shares.gather(-1, kept)
        place = (shares <= given.to(shares.dtype).unsqueeze(-1) * mass).sum(-1, keepdim=True)
        chosen: Tensor = tokens.gather(-1, torch.minimum(place, kept)).squeeze(-1)
        return chosen


_SALT = 0x746F6B656E  # no other hash of a seed starts with it


def noise(seed: int, step: int, role: int, sample: Tensor, position: Tensor) -> Tensor:
    """Uniform numbers in [0, 1), float64, a function of their arguments alone.

    They are the same however a batch is split, and whether tokens are proposed one by one or in blocks.

    Args:
        seed: of the run.
        step: of training.
        role: a number for who draws, such as the student.
        sample: (B,) number of each sample.
        position: (B,) or (B, n) of the token in its text.
    """
    sample = sample.view(-1, *[1] * (position.ndim - 1))
    return ((mix(_SALT, seed, step, role, sample, position) >> 11) & 2**53 - 1).double() / 2**53
