"""Seeds derived from the run's seed, so that nothing that draws random numbers shares a stream."""

from __future__ import annotations

import hashlib


def seed_for(seed: int, *purpose: str | int) -> int:
    """A seed of 63 bits for one purpose ("student", or a stage and an epoch) of a run with this seed."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
