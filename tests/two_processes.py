"""Runs functions in two gloo processes, the same pair for all tests: starting a pair costs seconds."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing import get_context

from limbeck.training import choices

Job = tuple[Callable[..., Any], tuple[Any, ...]]
WORLD = 2


def run_in_two_processes(jobs: Sequence[Job], paths: Sequence[Path] = ()) -> list[list[Any]]:
    """What each job returned in each of the two processes.

    Args:
        jobs: importable functions, called as function(rank, world, *arguments), with what they return
            pickled back. What they leave in the environment and in accelerate is gone afterwards.
        paths: where to import from, besides the usual.
    """
    with tempfile.TemporaryDirectory() as folder:
        _pair().run(folder, [str(path) for path in paths], list(jobs))
        ranks = [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(WORLD)]
    return [list(results) for results in zip(*ranks, strict=True)]


def as_launched(rank: int, world: int) -> None:
    """Tells accelerate, in a job, that a launcher has started the processes together."""
    local = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world}
    os.environ |= {name: str(value) for name, value in local.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "ACCELERATE_USE_CPU": "true"}
    os.environ["OMP_NUM_THREADS"] = "1"


@cache
def _pair() -> _Pair:
    return _Pair()


class _Pair:
    """Two processes that wait for jobs, and end with this one."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._processes, self._pipes = [], []
        for rank in range(WORLD):
            here, there = context.Pipe()
            self._processes.append(context.Process(target=_serve, args=(rank, there), daemon=True))
            self._pipes.append(here)
            self._processes[-1].start()
            there.close()

    def run(self, folder: str, paths: list[str], jobs: list[Job]) -> None:
        """Runs jobs in both; raises what one of them raised, after which the next jobs get a new pair."""
        for pipe in self._pipes:
            pipe.send((folder, dict(os.environ), paths))
            pipe.send(jobs)
        waiting = list(self._pipes)
        while waiting:
            ready: list[Any] = wait(waiting, timeout=300)
            failed = [_answer(pipe) for pipe in ready] if ready else ["two processes do not answer in 300 s"]
            if any(failed):
                for process in self._processes:
                    process.kill()
                _pair.cache_clear()
                raise RuntimeError(next(filter(None, failed)))
            waiting = [pipe for pipe in waiting if pipe not in ready]


def _answer(pipe: Any) -> str | None:
    """What went wrong in a process; None if nothing did."""
    try:
        failed: str | None = pipe.recv()
    except EOFError:
        return "one of two processes has ended"
    return failed


def _serve(rank: int, pipe: Connection) -> None:
    torch.set_num_threads(1)
    choices.multiplies_bfloat16 = lambda: False
    while True:
        try:
            folder, environment, paths = pipe.recv()
        except EOFError:
            return
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:0] = [path for path in paths if path not in sys.path]
        try:
            _work(rank, folder, pipe.recv())
        except BaseException:
            pipe.send(traceback.format_exc())
        else:
            pipe.send(None)


def _work(rank: int, folder: str, jobs: list[Job]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    results = [function(rank, WORLD, *arguments) for function, arguments in jobs]
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    if (state := sys.modules.get("accelerate.state")) is not None:
        state.AcceleratorState._reset_state(reset_partial_state=True)
        state.GradientState._reset_state()
