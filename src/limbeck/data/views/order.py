"""The order in which the views of a sample come into use, where only some of them are drawn."""

from __future__ import annotations

from functools import lru_cache
from math import gcd

from torch import Tensor

from limbeck.hashing import mix

_SALT = 0x76696577  # no other hash of an index starts with it


def nth_view(index: Tensor, place: Tensor, count: int) -> Tensor:
    """The number of the view that stands at a place in a sample's order.

    Each sample starts at a view of its own and strides through the numbers by the golden ratio of their
    count: its first K views are spread over the policy for every K, they are among its first K + 1, and no
    view is preferred over all samples. No seed takes part, so all runs use the same views first.

    Args:
        index: (B,) int64 positions of the samples.
        place: (B,) int64 in [0, count).
        count: how many views the policy has, at most 2**31.
    Returns: (B,) int64 in [0, count).
    """
    return (_first(index, count) + place * _stride(count)) % count


def place_of(index: Tensor, view: Tensor, count: int) -> Tensor:
    """Where a view stands in a sample's order: the inverse of `nth_view`."""
    return (view - _first(index, count)) % count * pow(_stride(count), -1, count) % count


def _first(index: Tensor, count: int) -> Tensor:
    return (mix(_SALT, index) & 2**63 - 1) % count


@lru_cache
def _stride(count: int) -> int:
    """About 0.618 of the count, and coprime with it, so that every view has a place."""
    stride = max(1, round(count * (5**0.5 - 1) / 2))
    while gcd(stride, count) > 1:
        stride += 1
    return stride
