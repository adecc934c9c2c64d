"""The processes that a launcher started, such as `torchrun` or `accelerate launch`."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from limbeck.errors import LimbeckError


def launched() -> int:
    """How many processes were started to train together: those of the process group, or of the launcher."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    world = os.environ.get("WORLD_SIZE", "")
    return int(world) if world.isdecimal() else 1


def first_of_all() -> bool:
    """Whether this is the process that prints, of those that a launcher started together."""
    return os.environ.get("RANK", "0") == "0"


def accelerator_here() -> torch.device | None:
    """The accelerator of this machine; None if it has none that works."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None


def launched_on_cpu() -> bool:
    """Whether there are several processes and no accelerator for them.

    accelerate joins processes on the CPU only if it is told so; otherwise each takes itself for the only one.
    """
    accelerator = accelerator_here()
    joinable = accelerator is not None and accelerator.type != "mps"
    return launched() > 1 and "LOCAL_RANK" in os.environ and not joinable


@contextmanager
def ended_at_exit() -> Iterator[None]:
    """A context in which a process group may begin, which then ends with the process.

    One that is left behind may abort the process at its very end, while its threads still run.
    """
    before = dist.is_available() and dist.is_initialized()
    yield
    if dist.is_available() and dist.is_initialized() and not before:
        atexit.register(_end)


def _end() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def check_world(joined: int) -> None:
    """Refuses processes that were started together and would train apart, all writing to one directory.

    Args:
        joined: how many processes accelerate has joined.
    Raises:
        LimbeckError: if that is not how many there are.
    """
    if joined == 1 and launched() > 1:
        raise LimbeckError(
            f"{launched()} processes were launched together, and accelerate takes each of them for the only "
            "one; launch them with torchrun or accelerate launch, and make an Accelerator of your own, if "
            "there is one, with cpu=True where there is no GPU"
        )


def check_unsharded() -> None:
    """Refuses accelerate's own FSDP, which would wrap the networks in its way.

    Raises:
        LimbeckError: if `accelerate launch` was told to use it.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true"):
        raise LimbeckError(
            "accelerate launch was told to use FSDP, and limbeck shards networks itself; launch without "
            "--use_fsdp, and set training.sharding=student"
        )


def half_launched(joined: int) -> str | None:
    """A sentence if accelerate was asked for several processes and started one, as it does without GPUs.

    Args:
        joined: how many processes accelerate has joined.
    """
    asked = {"ACCELERATE_MIXED_PRECISION", "MASTER_ADDR"} <= os.environ.keys() and "RANK" not in os.environ
    if joined > 1 or not asked:
        return None
    return (
        "accelerate launch has started one process, though it was asked for several; on a CPU it starts "
        "them with --multi_gpu --num_processes N, and so does torchrun --nproc_per_node N"
    )


def lost(error: RuntimeError) -> bool:
    """Whether an error says that another process does not answer any more."""
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)
