"""What wall-clock times were measured on."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from limbeck.evaluation.results import Machine

CPUINFO = Path("/proc/cpuinfo")


def machine(device: torch.device | str) -> Machine:
    """The processor that does the work of a device, by name, and the threads that torch may take."""
    device = torch.device(device)
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return Machine(processor=processor, threads=torch.get_num_threads())


def _processor() -> str:
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor()) or platform.machine()
