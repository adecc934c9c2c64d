"""Intervals of a training, in steps or in time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from limbeck.errors import LimbeckError

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Interval:
    """So many steps, or so many seconds; the other is None."""

    steps: int | None = None
    seconds: float | None = None


def parse_interval(given: int | str) -> Interval:
    """The interval that 500 (steps) or "10min" (s, min, h) means.

    Raises:
        LimbeckError: for any other text, and for nothing or less.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h)?\s*", str(given))
    amount = float(match[1]) if match else 0.0
    if not match or not amount or (match[2] is None and "." in match[1]):
        raise LimbeckError(f"should be a number of steps (500) or a time (10min), not {given!r}")
    return Interval(seconds=amount * _SECONDS[match[2]]) if match[2] else Interval(steps=int(amount))
