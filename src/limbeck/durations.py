"""Seconds, as people write them."""

from __future__ import annotations

from datetime import timedelta


def duration(seconds: float) -> str:
    """`12.3 s`, or hours, minutes and seconds from two minutes on."""
    return f"{seconds:.1f} s" if seconds < 120 else str(timedelta(seconds=round(seconds)))
