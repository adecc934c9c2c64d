"""What logits in chunks save, and what a step costs whose teacher is read from its cache.

    python -m benchmarks.language.memory [--gguf FILE] [--shared DIR] [--tiny]

The head of a student and of a teacher, `0.5*ce + 0.5*kd(temperature=1)`, value and gradient, for 2,048 tokens
of a vocabulary of 49,152 from hidden states of 576: with all logits at once, and in chunks. The extra peak is
that of a process of its own which does it once, less what it had before. For the times both alternate in one
process. With `--gguf`, the file of SmolLM2-135M-Instruct, a step of six of its layers on pairs of E2E NLG
too: fine-tuning and with a cached teacher, alternating. Figures go to memory.json beside this file, and into
its README; what is there is not measured again. `--tiny` prints them alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.language.readme import readme
from benchmarks.language.settings import DIVERGENCES, SETTINGS, write_pairs
from benchmarks.language.weights import folder_of
from benchmarks.ledger import Ledger
from benchmarks.speed import ROOT
from benchmarks.speed.machine import describe
from benchmarks.speed.memory import peak_of_process
from limbeck import Distiller
from limbeck.chunked import Chunked
from limbeck.config import make_config
from limbeck.data import Loader
from limbeck.files import write_text
from limbeck.methods.terms import Losses
from limbeck.objective import parse
from limbeck.optimization import Adam
from limbeck.outputs import Batch, Outputs
from limbeck.projection import Projection
from limbeck.runs import job

HERE = Path(__file__).parent
OBJECTIVE = DIVERGENCES["KD, forward"]
SHAPE, SMALL = (2048, 49_152, 576), (64, 4096, 32)
"""Tokens, words and the width of what the head reads."""

WAYS = ("dense", "chunked")
PEAKS, TIMES, STEPS = 3, 9, 9


def drawn(tokens: int, words: int, width: int) -> tuple[Tensor, ...]:
    """Hidden states and weights of a student, those of a teacher, and targets."""
    torch.manual_seed(0)
    pair = [torch.randn(tokens, width), torch.randn(words, width) / width**0.5]
    taught = [torch.randn(tokens, width), torch.randn(words, width) / width**0.5]
    return (*[each.requires_grad_() for each in pair], *taught, torch.randint(words, (tokens,)))


def head(way: str, hidden: Tensor, weight: Tensor, theirs: Tensor, table: Tensor, targets: Tensor) -> None:
    """Value and gradient of the objective.

    Args:
        way: one of `WAYS`.
        hidden, weight: (P, D) and (V, D) of the student.
        theirs, table: the same of the teacher.
        targets: (P,).
    """
    objective, batch = parse(OBJECTIVE), Batch(hidden.detach(), targets)
    sides = [
        Projection(states, weights, None, 1.0, None, torch.float32)
        for states, weights in ((hidden, weight), (theirs, table))
    ]
    if way == "chunked":
        student, teacher = (Outputs(projection=each) for each in sides)
        Losses(Chunked(objective, objective.labels)(student, teacher, batch)).backward()
    else:
        student, teacher = (Outputs(logits=each[:]) for each in sides)
        Losses(objective.terms(student, teacher, batch)).backward()


def extra(way: str, shape: tuple[int, int, int]) -> int:
    """Bytes that one value with its gradient takes at most beyond what was there, in this process."""
    head(way, *drawn(8, 256, 8))  # whatever is loaded at the first use
    tensors = drawn(*shape)
    with Path("/proc/self/clear_refs").open("w", encoding="ascii") as file:
        file.write("5")  # the peak so far is forgotten
    before = peak_of_process()
    head(way, *tensors)
    return peak_of_process() - before


def alternating(ways: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each by name, called in turn; the first time warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(repetitions + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if repetition:
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def heads(shape: tuple[int, int, int], *, tiny: bool) -> dict[str, Any]:
    """Peaks of processes, and times in this one."""
    command = [sys.executable, "-m", "benchmarks.language.memory", *(["--tiny"] if tiny else [])]
    peaks = {
        way: [
            int(
                subprocess.run(
                    [*command, "--once", way], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT
                ).stdout
            )
            for _ in range(1 if tiny else PEAKS)
        ]
        for way in WAYS
    }
    tensors = drawn(*shape)
    ways = {way: (lambda way=way: head(way, *tensors)) for way in WAYS}
    seconds = alternating(ways, 1 if tiny else TIMES)
    return {
        "machine": describe("cpu"),
        "extra_peak": peaks,
        "seconds": seconds,
        "peak_ratio": _ratio(peaks),
        "time_ratio": _ratio(seconds),
    }


def _ratio(found: Mapping[str, list[Any]]) -> float:
    """Median of the second over median of the first."""
    first, second = (statistics.median(each) for each in found.values())
    return round(float(second / first), 4)


def steps(gguf: Path, shared: Path, *, tiny: bool) -> dict[str, Any]:
    """Times of a fine-tuning step and of one with a cached teacher, of the same weights and batches."""
    setting = SETTINGS["smollm2"]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LIMBECK_CACHE"] = folder
        write_pairs(shared, Path(folder) / "pairs", 64, 8, 8)
        weights = folder_of(gguf, Path(folder) / "weights")
        config = {
            "data.name": setting.data.format(pairs=Path(folder) / "pairs", shared=shared),
            "student": setting.student.format(weights=weights),
            "training.precision": "fp32",
        }
        taught = {
            "teacher": {"model": setting.teacher.format(weights=weights), "cache": "logits", "trust": True}
        }
        made = {
            "fine-tuning": job.prepare(make_config(None, {**config, "objective": "ce"})),
            "cached": job.prepare(make_config(None, {**config, **taught, "objective": OBJECTIVE})),
        }
        loader = Loader(made["cached"].split, setting.batch_size, seed=0)
        batch = next(iter(loader))

        def stepping(distiller: Distiller) -> Callable[[], None]:
            optimizer = distiller.optimizer(Adam(name="adamw"))

            def step() -> None:
                distiller.train().progress(0, 0, 0.0)
                distiller(batch).backward()
                optimizer.step()
                optimizer.zero_grad()

            return step

        seconds = alternating(
            {name: stepping(each.distiller) for name, each in made.items()}, 1 if tiny else STEPS
        )
        shown = made["cached"].distiller.teachers.take_shown()
    return {
        "machine": describe("cpu"),
        "seconds": seconds,
        "time_ratio": _ratio(seconds),
        "tokens": int(batch.inputs["attention_mask"].bool().sum()),  # type: ignore[index]
        "shown": shown,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gguf", type=Path, help="SmolLM2-135M-Instruct; no step is timed without it")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    parser.add_argument("--tiny", action="store_true", help="small shapes and once, to see that it runs")
    parser.add_argument("--once", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shape = SMALL if arguments.tiny else SHAPE
    if arguments.once:
        print(extra(arguments.once, shape))
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) if arguments.tiny else HERE
        ledger = Ledger(place / "memory.json")
        of: dict[str, Any] = {"objective": OBJECTIVE, "shape": shape}
        print(ledger.once("head", of=of, measure=lambda: heads(shape, tiny=arguments.tiny)), flush=True)
        if arguments.gguf is not None:
            setting = SETTINGS["smollm2"]
            of = {"objective": OBJECTIVE, "student": setting.student, "batch_size": setting.batch_size}
            measured = ledger.once(
                "step", of=of, measure=lambda: steps(arguments.gguf, arguments.shared, tiny=arguments.tiny)
            )
            print(measured, flush=True)
        results, peers = (Ledger(place / f"{name}.json").found for name in ("results", "peers"))
        write_text(place / "README.md", readme(results, ledger.found, peers))


if __name__ == "__main__":
    main()
