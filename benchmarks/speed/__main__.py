"""How fast limbeck is, beside loops in plain PyTorch, and what it costs besides.

    python -m benchmarks.speed [PIECE ...] [--device cpu|cuda] [--batch-size 64] [--quick]

The pieces, each of which may be run by itself and again: step, maps, epochs, memory, filling, start, whole
(which takes a GPU), accuracy.
What a piece finds is put into results.json beside this file, with the machine it was measured on, and
README.md is written from all that is there. `--quick` is for trying the scripts: a few images and steps, and
results of their own under `--scratch`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import accuracy, epochs, filling, machine, maps, memory, start, step, whole
from benchmarks.speed.readme import readme
from limbeck import data
from limbeck.files import write_text

HERE = Path(__file__).parent

Piece = Callable[[argparse.Namespace], "dict[str, Any]"]


def images(given: argparse.Namespace, some: int, most: int = epochs.WHOLE) -> int:
    """How many are measured with: some batches when quick, all on a GPU, `some` else."""
    if given.quick:
        return 2 * int(given.batch_size)
    return most if given.device == "cuda" else some


def epochs_of_photographs(given: argparse.Namespace) -> dict[str, Any]:
    # On a GPU whole batches only: the compiler would take its time for one of another size.
    most = epochs.WHOLE // given.batch_size * given.batch_size
    source = data.load(f"cifar100(train={images(given, 960, most)}, validation=0)", given.shared / "cifar100")
    return epochs.measure(
        given.device,
        given.batch_size,
        source,
        given.scratch / "epochs",
        repetitions=2 if given.quick else 5,
        workers=given.workers,
    )


PIECES: Mapping[str, Piece] = {
    "step": lambda given: step.measure(
        given.device,
        given.batch_size,
        given.scratch / "step",
        repetitions=2 if given.quick else 5,
        steps=2 if given.quick else 50 if given.device == "cuda" else 6,
        size=2_000 if given.quick else 50_000,
    ),
    "maps": lambda given: maps.measure(
        given.device,
        given.batch_size,
        given.scratch / "maps",
        repetitions=2 if given.quick else 5,
        steps=2 if given.quick else 50 if given.device == "cuda" else 6,
        size=10 * given.batch_size if given.quick else 2_048,
    ),
    "epochs": epochs_of_photographs,
    "memory": lambda given: memory.measure(
        given.device, given.batch_size, given.scratch / "memory", repetitions=1 if given.quick else 5
    ),
    "filling": lambda given: filling.measure(
        given.device,
        given.batch_size,
        given.scratch,
        given.shared,
        images=images(given, 10 * given.batch_size),
        repetitions=2 if given.quick else 5,
    ),
    "start": lambda given: start.measure(given.scratch, repetitions=2 if given.quick else 7),
    "whole": lambda given: whole.measure(
        given.device, given.batch_size, given.scratch, given.shared, images=images(given, epochs.WHOLE)
    ),
    "accuracy": lambda given: accuracy.measure(
        given.scratch / "accuracy",
        given.shared,
        images=200 if given.quick else 4_000,
        epochs=2 if given.quick else 60,
        teacher_epochs=1 if given.quick else 30,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pieces", nargs="*", choices=[[], *PIECES], help="which; all if left out")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch-size", type=int, default=64, help="of all but start and accuracy")
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count(),
        help="of the plain loops' DataLoader; they run without any, too, and what is faster counts",
    )
    parser.add_argument("--quick", action="store_true", help="tries the scripts; writes nothing here")
    parser.add_argument("--scratch", type=Path, default=Path("runs/speed"), help="runs and caches")
    parser.add_argument("--shared", type=Path, default=HERE.parents[2] / "shared" / "data", help="data files")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU that torch can use here")
    if given.device == "cpu" and "whole" in given.pieces:
        parser.error("whole, a run of 240 epochs, is for a GPU; add --device cuda")
    if given.quick:
        given.scratch /= "quick"
    given.scratch = given.scratch.resolve()
    os.environ["LIMBECK_CACHE"] = str(given.scratch / "cache")
    place = given.scratch if given.quick else HERE
    file = place / "results.json"
    for name in given.pieces or [name for name in PIECES if name != "whole" or given.device == "cuda"]:
        begun = time.perf_counter()
        found = {"machine": machine.describe(given.device), **PIECES[name](given)}
        results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        results.setdefault(name, {})[f"{given.device} {given.batch_size}"] = found
        write_text(file, json.dumps(results, indent=1) + "\n")
        write_text(place / "README.md", readme(json.loads(file.read_text(encoding="utf-8"))))
        print(f"{name}: {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
