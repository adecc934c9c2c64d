"""Runs functions in two gloo processes, all of them in one pair: starting a pair costs seconds."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from one_precision import without_half

Job = tuple[Callable[..., Any], tuple[Any, ...]]


def run_in_two_processes(jobs: Sequence[Job], paths: Sequence[Path] = ()) -> list[list[Any]]:
    """What each job returned in each of the two processes.

    Args:
        jobs: importable functions, called as function(rank, world, *arguments), with what they return
            pickled back.
        paths: where to import from, besides the usual.
    """
    with tempfile.TemporaryDirectory() as folder:
        arguments = (2, folder, list(jobs), [str(path) for path in paths])
        spawn(_work, arguments, nprocs=2)  # type: ignore[no-untyped-call]
        ranks = [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(2)]
    return [list(results) for results in zip(*ranks, strict=True)]


def _work(rank: int, world: int, folder: str, jobs: list[Job], paths: list[str]) -> None:
    sys.path[:0] = paths
    torch.set_num_threads(1)
    torch.cpu.get_capabilities = without_half
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    results = [function(rank, world, *arguments) for function, arguments in jobs]
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
