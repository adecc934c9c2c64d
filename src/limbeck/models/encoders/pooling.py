"""Pooling: the vectors of a text's tokens become one vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from limbeck.errors import LimbeckError, unknown

Pooling: TypeAlias = Literal["mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
"""How tokens become one vector, by the names of sentence-transformers."""

POOLINGS: tuple[str, ...] = get_args(Pooling)


def checked(poolings: Sequence[str], whose: str) -> tuple[Pooling, ...]:
    """The poolings, at least one.

    Args:
        poolings: their names.
        whose: what they are of, for messages.
    Raises:
        LimbeckError: for a name that there is not, and where there is none.
    """
    if not poolings:
        raise LimbeckError(f"{whose} names no pooling; give at least one of {', '.join(POOLINGS)}")
    for each in poolings:
        if each not in POOLINGS:
            raise unknown(f"pooling of {whose}", each, POOLINGS)
    return tuple(poolings)  # type: ignore[arg-type]


def pool(tokens: Tensor, mask: Tensor, poolings: Sequence[Pooling]) -> Tensor:
    """One vector for each text, those of several poolings one after the other.

    With m the mask, x_l the vector of the token at position l, and positions counted from the first token of
    the text, which on a text padded on its left is not position 0:

        mean                    sum_l m_l x_l / sum_l m_l
        mean_sqrt_len_tokens    sum_l m_l x_l / sqrt(sum_l m_l)
        weightedmean            sum_l l m_l x_l / sum_l l m_l, l from 1
        max                     max over the tokens, by component
        cls                     x of the first token
        lasttoken               x of the last token

    Sums are in float32 where the tokens are in less. A text without a token becomes the zero vector.

    Args:
        tokens: (B, L, D).
        mask: (B, L), not 0 where there is a token.
        poolings: at least one.
    Returns: (B, D * poolings).
    """
    there = mask.bool()
    return torch.cat([_BY_NAME[each](tokens, there) for each in poolings], -1)


def _mean(tokens: Tensor, there: Tensor) -> Tensor:
    return _weighted(tokens, there.to(tokens.dtype), there.sum(1))


def _mean_sqrt_len(tokens: Tensor, there: Tensor) -> Tensor:
    return _weighted(tokens, there.to(tokens.dtype), there.sum(1).sqrt())


def _weighted_mean(tokens: Tensor, there: Tensor) -> Tensor:
    places = torch.arange(1, there.shape[1] + 1, device=tokens.device) - _first(there)[:, None]
    weights = places * there
    return _weighted(tokens, weights.to(tokens.dtype), weights.sum(1))


def _weighted(tokens: Tensor, weights: Tensor, divisor: Tensor) -> Tensor:
    total = (tokens * weights[..., None]).sum(1, dtype=torch.promote_types(tokens.dtype, torch.float32))
    return (total / divisor.clamp(min=1e-9)[:, None]).to(tokens.dtype)


def _max(tokens: Tensor, there: Tensor) -> Tensor:
    found = tokens.masked_fill(~there[..., None], -torch.inf).amax(1)
    return torch.where(there.any(1)[:, None], found, 0)


def _cls(tokens: Tensor, there: Tensor) -> Tensor:
    return _at(tokens, there, _first(there))


def _last(tokens: Tensor, there: Tensor) -> Tensor:
    return _at(tokens, there, there.shape[1] - 1 - _first(there.flip(1)))


def _at(tokens: Tensor, there: Tensor, places: Tensor) -> Tensor:
    """(B, D) the tokens at one place (B,) of each text."""
    chosen = tokens.gather(1, places[:, None, None].expand(-1, 1, tokens.shape[-1]))[:, 0]
    return torch.where(there.any(1)[:, None], chosen, 0)


def _first(there: Tensor) -> Tensor:
    """(B,) int64 position of the first token; 0 without one."""
    return there.to(torch.int32).argmax(1)


_BY_NAME: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": _mean,
    "cls": _cls,
    "max": _max,
    "mean_sqrt_len_tokens": _mean_sqrt_len,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
