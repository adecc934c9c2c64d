"""The processes that a launcher started, such as `torchrun` or `accelerate launch`."""

from __future__ import annotations

import atexit
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Thread

import torch
import torch.distributed as dist
from accelerate import Accelerator

from limbeck.errors import FirstFailedError, LimbeckError

SETTLES = 0.2
"""Seconds that the threads of a process group get to let go of what they hold, before the process ends."""
PATIENCE = timedelta(days=365)
"""How long the other processes wait for what the first one does alone, as long as it lives."""


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

    One that is left behind may abort the process at its very end, while its threads still run. So may a
    thread of gloo that lets go of the last collective's tensors after the interpreter, which it needs for
    that, has ended.
    """
    before = dist.is_available() and dist.is_initialized()
    yield
    if dist.is_available() and dist.is_initialized() and not before:
        atexit.register(_end)


def _end() -> None:
    if dist.is_initialized():
        time.sleep(SETTLES)
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


@contextmanager
def led(accelerator: Accelerator) -> Iterator[None]:
    """A context at whose end the other processes wait for the first, which may take days in it.

    They wait in a gloo group of its own, whatever the timeout of the accelerator's group is: gloo notices at
    once when the first process dies. All processes enter it together. Signals are heeded while they wait.

    Args:
        accelerator: joins the processes.
    Raises:
        FirstFailedError: in the other processes, if the context of the first one ends with an error.
        LimbeckError: if another process has ended.
    """
    if accelerator.num_processes == 1:
        yield
        return
    with answering():
        group = dist.new_group(backend="gloo")
    assert group is not None, "every process is in it"
    try:
        if accelerator.is_main_process:
            try:
                yield
            except BaseException as error:
                with suppress(RuntimeError):  # one that has ended needs not be told
                    _tell(_exit_code(error), group)
                raise
            with answering():
                _tell(0, group)
        else:
            yield
            with answering():
                code = _told(group)
            if code != 0:
                raise FirstFailedError(code)
    finally:
        dist.destroy_process_group(group)


def _tell(code: int, group: dist.ProcessGroup) -> None:
    """Sends all other processes the exit code of the first, 0 if it goes on."""
    word = torch.tensor([code])
    for work in [dist.isend(word, rank, group) for rank in range(1, dist.get_world_size())]:
        assert work is not None
        work.wait()


def _told(group: dist.ProcessGroup) -> int:
    """What the first process has sent; a thread waits for it, as torch lets no signal through meanwhile."""
    word, failed = torch.zeros(1, dtype=torch.long), list[RuntimeError]()

    def wait() -> None:
        try:
            work = dist.irecv(word, 0, group)
            assert work is not None
            work.wait(PATIENCE)
        except RuntimeError as error:
            failed.append(error)

    thread = Thread(target=wait, daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return int(word)


def _exit_code(error: BaseException) -> int:
    """The exit code of a process that ends with an error."""
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    code = error.code if isinstance(error, SystemExit) else getattr(error, "exit_code", 1)
    return code if isinstance(code, int) else 1


@contextmanager
def answering(saved: Callable[[], str] | None = None) -> Iterator[None]:
    """A context in which it is said if another process does not answer any more.

    Args:
        saved: a function that says what is saved by then, in half a sentence.
    Raises:
        LimbeckError: if another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if not lost(error):
            raise
        kept = f"{saved()}, and " if saved else ""
        raise LimbeckError(
            f"another process has ended or does not answer; {kept}the same command with resume (--resume "
            "auto) goes on, with any number of processes"
        ) from error
