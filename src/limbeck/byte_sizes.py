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


def sized(count: int) -> str:
    """Bytes in the unit that suits them: "640 B", "5.4 kB", "12.3 MB" or "1.2 GB"."""
    if count < 1000:
        return f"{count} B"
    unit = next((power for power in (3, 2) if count >= 1000**power), 1)
    return f"{count / 1000**unit:,.1f} {('kB', 'MB', 'GB')[unit - 1]}"
