"""The device that a training computes on."""

from __future__ import annotations

import os

import torch

from limbeck.errors import LimbeckError, unknown
from limbeck.training.world import accelerator_here, launched

KINDS = ("auto", "cpu", "cuda", "mps")
"""Names of devices; one of several has an index behind it."""


def device_for(asked: str, found: torch.device, processes: int = 1) -> torch.device:
    """The device that is meant.

    Args:
        asked: "auto" for the one that was found, "cpu", or the name of an accelerator, "cuda", with an index
            or without one, "cuda:1".
        found: the device that accelerate gives this process.
        processes: how many train together.
    Raises:
        LimbeckError: for a device that is not there, and for another one than accelerate gives a process.
    """
    if asked == "auto":
        return found
    kind, _, index = asked.partition(":")
    if kind not in KINDS:
        raise unknown("device", asked, KINDS)
    if processes > 1:
        if index:
            raise LimbeckError(
                f"device={asked!r} names one device, and {processes} processes train together, each on one "
                f"of its own; leave out the index, {kind}, or say auto"
            )
        if kind != found.type:
            raise LimbeckError(
                f"the processes were launched on {found.type}; for the CPU, launch them "
                "with CUDA_VISIBLE_DEVICES set to nothing"
                if kind == "cpu"
                else f"device={asked!r} is not what the processes were launched on, {found.type}; say auto"
            )
        return found
    if kind == "cpu":
        return torch.device("cpu")
    if kind != found.type:
        there = "cpu" if found.type == "cpu" else f"cpu and {found}"
        raise LimbeckError(f"device={asked!r} is not available here, where there is {there}; or say auto")
    if not index:
        return found
    count = torch.accelerator.device_count()
    if int(index) >= count:
        there = f"{kind}:0" if count == 1 else f"{kind}:0 to {kind}:{count - 1}"
        raise LimbeckError(f"device={asked!r} is not available here, where there is {there}; or say auto")
    return torch.device(asked)


def own_device(asked: str) -> torch.device:
    """The same before there is a trainer; of several accelerators, that of this process.

    Raises:
        LimbeckError: as above.
    """
    there = accelerator_here()
    rank = int(os.environ.get("LOCAL_RANK", 0))
    found = torch.device("cpu") if there is None else torch.device(there.type, rank)
    return device_for(asked, found, launched())
