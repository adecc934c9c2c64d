"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

INFO = Path("/proc/cpuinfo")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Of the processor, those that decide what a network's step costs."""


def describe(device: str) -> dict[str, Any]:
    """Processor, cores, the flags that matter, memory, and what software computes."""
    lines = INFO.read_text(encoding="utf-8").splitlines() if INFO.exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": facts.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_gib": round(memory, 1),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
    }


def sentence(machine: dict[str, Any]) -> str:
    """The same in words."""
    gpu = f" and one {machine['gpu']}" if machine["gpu"] else ""
    return (
        f"{machine['processor']}, {machine['cores']} cores ({', '.join(machine['flags']) or 'no AVX2'}), "
        f"{machine['memory_gib']} GiB{gpu}, {machine['system']}, Python {machine['python']}, "
        f"torch {machine['torch']}, {machine['threads']} threads"
    )
