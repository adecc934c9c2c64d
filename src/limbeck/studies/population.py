"""Population-based training of policies: who goes on from whom, and with what.

Jaderberg et al., 2017, arXiv:1711.09846; for augmentation Ho et al., 2019, arXiv:1905.05393.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from limbeck.data.views.space import Range, Values

RESAMPLED = 0.2
"""The share of parameters that are drawn anew; the others are shifted."""
SHIFT = 3
"""The most steps that a parameter is shifted by."""


def drawn(space: Mapping[str, Range], random: Random) -> dict[str, float]:
    """A policy that is drawn from the whole space."""
    return {name: random.choice(range_.values) for name, range_ in space.items()}


def perturbed(values: Values, space: Mapping[str, Range], random: Random) -> dict[str, float]:
    """A policy near another: each parameter is drawn anew, or moves some steps up or down within its range.

    Args:
        values: the other policy.
        space: its parameters.
        random: what is drawn from.
    """
    found = {}
    for name, range_ in space.items():
        steps = range_.values
        if random.random() < RESAMPLED:
            found[name] = random.choice(steps)
        else:
            place = steps.index(values[name]) + random.choice((-1, 1)) * random.randint(0, SHIFT)
            found[name] = steps[max(0, min(place, len(steps) - 1))]
    return found


def parents(scores: Sequence[float], random: Random) -> list[int]:
    """For each trial the one whose weights and policy it goes on with: its own, or for the last quarter one
    that is drawn from the first.

    Args:
        scores: of the trials, the larger the better; of two that are equal the earlier trial is better.
        random: what is drawn from.
    """
    order = sorted(range(len(scores)), key=lambda trial: (-scores[trial], trial))
    quarter = max(1, len(scores) // 4)
    best, worst = order[:quarter], set(order[-quarter:])
    return [random.choice(best) if trial in worst else trial for trial in range(len(scores))]
