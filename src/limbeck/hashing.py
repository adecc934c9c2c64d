"""Randomness without state: integers mixed into 64 bits, the same on every device and in any order."""

from __future__ import annotations

import torch
from torch import Tensor


def mix(*words: int | Tensor) -> Tensor:
    """Hashes integers, one round of splitmix64 for each word in turn.

    Args:
        words: Python integers (their low 64 bits count) and int64 tensors that broadcast against each other.
    Returns: int64 of the broadcast shape, uniform over all 64 bits. `mix(1, 2)` is not `mix(2, 1)`.
    """
    state = torch.zeros((), dtype=torch.int64)
    for word in words:
        state = _splitmix64(state ^ (word if isinstance(word, Tensor) else _signed(word)))
    return state


def below(count: int, *words: int | Tensor) -> Tensor:
    """A hash of integers in [0, count), int64: 63 bits modulo `count`."""
    return (mix(*words) & 2**63 - 1) % count


def _signed(word: int) -> int:
    """The low 64 bits of a word as int64 holds them."""
    return (word + 2**63) % 2**64 - 2**63


def _splitmix64(state: Tensor) -> Tensor:
    """One step of Vigna's splitmix64. int64 shifts carry the sign along, so each shift is masked."""
    state = state + _signed(0x9E3779B97F4A7C15)
    state = (state ^ (state >> 30 & 2**34 - 1)) * _signed(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> 27 & 2**37 - 1)) * _signed(0x94D049BB133111EB)
    return state ^ (state >> 31 & 2**33 - 1)
