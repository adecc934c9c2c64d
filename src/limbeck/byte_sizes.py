"""Numbers of bytes, as people write them."""

from __future__ import annotations

import re

UNITS = {"": 1, "B": 1, "kB": 1000} | {
    f"{prefix}{kind}": base**power
    for kind, base in (("B", 1000), ("iB", 1024))
    for power, prefix in enumerate("KMGT", 1)
}


def bytes_of(text: str) -> int | None:
    """Bytes of a text such as "4 GiB" or "20GB"; None for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(\w*)", text.strip())
    return int(float(found[1]) * UNITS[found[2]]) if found and found[2] in UNITS else None


def megabytes(count: int) -> str:
    """Bytes in megabytes, for example "12.3 MB"."""
    return f"{count / 1e6:,.1f} MB"
