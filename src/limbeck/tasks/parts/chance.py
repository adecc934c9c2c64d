"""How far above chance a share must be to count as more."""

from __future__ import annotations


def most_by_chance(chance: float, error: float) -> float:
    """The largest share that counts as chance: 3 standard errors above it.

    Where there are so few samples that even a share of 1 would count, it is chance itself.

    Args:
        chance: the share that is reached without knowing anything, in [0, 1].
        error: its standard error.
    """
    most = chance + 3 * error
    return most if most < 1 else chance
