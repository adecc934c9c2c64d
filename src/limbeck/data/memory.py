"""How much memory decoded images may take."""

from __future__ import annotations

import os
import re

from limbeck.errors import LimbeckError

UNITS = {"": 1, "B": 1} | {
    f"{prefix}{kind}": base**power
    for kind, base in (("B", 1000), ("iB", 1024))
    for power, prefix in enumerate("KMGT", 1)
}


def budget(memory: str) -> int:
    """Bytes of a text such as "4 GiB"; "auto" is half of what is free, shared by all processes."""
    if memory == "auto":
        import psutil

        return int(psutil.virtual_memory().available) // 2 // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(\w*)", memory.strip())
    if not found or found[2] not in UNITS:
        raise LimbeckError(f'memory should be a size such as "4 GiB" or "500 MB", or "auto", not {memory!r}')
    return int(float(found[1]) * UNITS[found[2]])
