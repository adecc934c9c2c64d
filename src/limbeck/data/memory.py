"""How much memory data may take."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from limbeck.byte_sizes import bytes_of
from limbeck.errors import LimbeckError


def budget(memory: str) -> int:
    """Bytes of a text such as "4 GiB"; "auto" is half of what is free, shared by all processes."""
    if memory == "auto":
        import psutil

        free = min([int(psutil.virtual_memory().available), *_left_in_control_groups()])
        return free // 2 // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    found = bytes_of(memory)
    if found is None:
        raise LimbeckError(f'memory should be a size such as "4 GiB" or "500 MB", or "auto", not {memory!r}')
    return found


def budget_on(device: torch.device) -> int:
    """Bytes that data may take on a device: half of what is free there, no limit where that is not known."""
    free = free_on(device)
    return sys.maxsize if free is None else free // 2


def free_on(device: torch.device) -> int | None:
    """Bytes that are free on a GPU, with those that torch holds and does not use; None on other devices."""
    if device.type != "cuda":
        return None
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + kept)


def _left_in_control_groups(root: Path = Path("/")) -> Iterator[int]:
    """Bytes left to this process in each control group around it that has a limit, as containers do.

    Args:
        root: root directory of the file system, for tests.
    """
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif controllers == "memory":
            mount = root / "sys/fs/cgroup/memory"
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        within = Path(group.lstrip("/"))
        for folder in (mount / within, *(mount / outer for outer in within.parents)):
            try:
                limit, used = ((folder / name).read_text().strip() for name in names[:2])
                stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            except OSError:  # the root of all, or a group outside the container
                continue
            if limit != "max":  # the cache of files counts as used, and is given back at need
                yield max(0, int(limit) - int(used) + int(stat.get(names[2], 0)))
