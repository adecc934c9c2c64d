"""What it costs a run to be killed, to be saved and to be shared by two processes.

    python -m benchmarks.reliability.run [--runs DIR] [--tiny]

Kills runs of several methods at random moments and resumes them (tests/faults/killing.py), measures what
checkpoints take of the time of a training, compares the gradients of two processes with those of one, and
fuzzes the readers of files where atheris is installed (tests/fuzzing/fuzz.py).
A figure that is in results.json is not measured again, so the command may be stopped and started again;
each is written there when it is known, and README.md is printed from them. `--tiny` tries it out in a few
minutes, and writes into the folder of the runs alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import limbeck
from benchmarks.ledger import Ledger
from benchmarks.reliability.readme import readme
from limbeck.files import write_text
from limbeck.methods import METHODS
from limbeck.training import Trainer, checkpoints

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KILLED = (
    "ce",
    "kd, cached",
    "icd",
    "mgd(fitnet)",
    "lwkd",
    "crd",
    "on_policy",
    "okd",
    "minillm",
    "dgkd, two teachers",
)
SAVED: dict[str, dict[str, Any]] = {
    "mlp, epochs of 16 steps": {"student": "mlp", "batch_size": 64},
    "resnet8x4, epochs of 16 steps": {"student": "resnet8x4", "batch_size": 64},
    "mlp, every 10 steps": {"student": "mlp", "batch_size": 64, "save_every": 10},
}
"""Trainings of which it is measured what checkpoints take, the settings besides being the defaults."""


Gradients = dict[tuple[Any, ...], torch.Tensor]
"""By process, step and parameter."""

FUZZED = (
    "notation",
    "views",
    "config",
    "weights",
    "safetensors",
    "checkpoint",
    "cache",
    "idx",
    "answers",
    "result",
    "history",
)


def killed(method: str, kills: int, runs: Path) -> dict[str, Any]:
    """What came of kills at random moments."""
    folder = runs / "killed" / method.split("(")[0].split(",")[0]
    shutil.rmtree(folder, ignore_errors=True)
    paths = os.pathsep.join(str(ROOT / each) for each in ("src", "tests", ""))
    script = [sys.executable, str(ROOT / "tests" / "faults" / "killing.py"), str(folder)]
    done = subprocess.run(
        [*script, "--method", method, "--kills", str(kills)],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def saved(name: str, epochs: int, runs: Path) -> dict[str, Any]:
    """What checkpoints take of the time of a training."""
    writing, fitting, written = 0.0, 0.0, 0
    save, fit = checkpoints.save, Trainer.fit

    def timed_save(*arguments: Any, **named: Any) -> None:
        nonlocal writing, written
        begun = time.perf_counter()
        save(*arguments, **named)
        writing, written = writing + time.perf_counter() - begun, written + 1

    def timed_fit(*arguments: Any, **named: Any) -> None:
        nonlocal fitting
        begun = time.perf_counter()
        fit(*arguments, **named)
        fitting = time.perf_counter() - begun

    checkpoints.save, Trainer.fit = timed_save, timed_fit  # type: ignore[method-assign]
    try:
        limbeck.train(
            **{("model" if key == "student" else key): value for key, value in SAVED[name].items()},
            epochs=epochs,
            settings={"training.trackers": []},
            out=runs / "saved" / name.replace(", ", "-").replace(" ", "-"),
            overwrite=True,
            display=False,
        )
    finally:
        checkpoints.save, Trainer.fit = save, fit  # type: ignore[method-assign]
    return {
        "epochs": epochs,
        "checkpoints": written,
        "seconds": round(fitting, 3),
        "milliseconds": round(1000 * writing / written, 3),
        "percent": round(100 * writing / (fitting - writing), 3),
    }


def shared(method: str) -> dict[str, float]:
    """The largest difference of two processes' gradient to that of one, over the largest gradient."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "methods")]
    found, expected = (_in_its_task if METHODS[method].tasks else _in_any_task)(method)
    differences = [(found[key] - gradient).abs().max().item() for key, gradient in expected.items()]
    return {"difference": max(differences) / max(each.abs().max().item() for each in expected.values())}


def _in_any_task(method: str) -> tuple[Gradients, Gradients]:
    """The gradients of both processes, and beside each that of one, on small images."""
    import test_conformance as conformance
    from method_setting import make_setting, objective_of

    from two_processes import run_in_two_processes

    [halves] = run_in_two_processes([(conformance.gradients_of_half, (method,))], [*map(Path, sys.path)])
    objective = objective_of(method)
    setting = make_setting(objective, norm=False, dtype=torch.float64)
    distiller = conformance.prepared(setting.distiller(objective), setting.inputs, setting.targets)
    distiller(conformance.batch_of(setting.inputs, setting.targets)).backward()
    here = {key: p.grad for key, p in distiller.named_parameters() if p.grad is not None}
    return (
        {(rank, key): half["gradients"][key] for rank, half in enumerate(halves) for key in here},
        {(rank, key): gradient for rank in range(len(halves)) for key, gradient in here.items()},
    )


def _in_its_task(method: str) -> tuple[Gradients, Gradients]:
    """The same of two steps of the trainer, where processes have different numbers of pixels or tokens."""
    from task_settings import OBJECTIVES, trained, trained_together

    from two_processes import run_in_two_processes

    case = METHODS[method].tasks[0], OBJECTIVES[method]
    [both] = run_in_two_processes([(trained_together, case)], [*map(Path, sys.path)])
    here = trained(*case)["gradients"]
    found, expected = Gradients(), Gradients()
    for rank, there in enumerate(both):
        for number, (theirs, gradients) in enumerate(zip(there["gradients"], here, strict=True)):
            found |= {(rank, number, key): theirs[key] for key in gradients}
            expected |= {(rank, number, key): gradient for key, gradient in gradients.items()}
    return found, expected


def fuzzed(target: str, seconds: int) -> dict[str, Any]:
    """What a fuzzer found in a reader."""
    script = [sys.executable, str(ROOT / "tests" / "fuzzing" / "fuzz.py"), target]
    done = subprocess.run([*script, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        raise SystemExit(f"the fuzzer of {target} ended with status {done.returncode} and no figures")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@dataclass(frozen=True)
class Cell:
    """One figure, or a few of one kind.

    Attributes:
        place: part and name in the results.
        of: settings that it is of.
        seconds: how long it takes on one core, about.
        measure: measures it.
    """

    place: tuple[str, str]
    of: Mapping[str, int]
    seconds: float
    measure: Callable[[], Mapping[str, Any]]


def cells(runs: Path, *, kills: int, epochs: int, seconds: int) -> Iterator[Cell]:
    """All that is measured.

    Args:
        runs: where runs go.
        kills: of each method.
        epochs: of the trainings whose checkpoints are timed.
        seconds: for which each reader is fuzzed.
    """
    for method in KILLED:
        took = 10 + 0.7 * kills
        yield Cell(("killed", method), {"kills": kills}, took, partial(killed, method, kills, runs))
    for name in SAVED:
        took = 5 + 0.4 * epochs
        yield Cell(("saved", name), {"epochs": epochs}, took, partial(saved, name, epochs, runs))
    for method in sorted(METHODS):
        yield Cell(("gradients", method), {"processes": 2}, 1, partial(shared, method))
    if find_spec("atheris") is not None:
        for target in FUZZED:
            took = 10 + seconds
            yield Cell(("fuzzed", target), {"seconds": seconds}, took, partial(fuzzed, target, seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what it costs a run to be killed and saved.")
    parser.add_argument("--tiny", action="store_true", help="two kills a method; written into --runs alone")
    parser.add_argument("--runs", type=Path, default=Path("runs/reliability"), help="where the runs go")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder, runs = HERE, arguments.runs.resolve()
    budget = {"kills": 25, "epochs": 100, "seconds": 60}
    if arguments.tiny:
        folder, budget = runs, {"kills": 2, "epochs": 2, "seconds": 2}
    runs.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder / "results.json")
    wanted = list(cells(runs, **budget))
    missing = [cell for cell in wanted if not ledger.has(*cell.place, of=cell.of)]
    minutes = sum(cell.seconds for cell in missing) / 60
    print(
        f"{len(missing)} of {len(wanted)} figures are missing: {minutes:.0f} minutes on one core", flush=True
    )
    for cell in wanted:
        if cell in missing:
            print(", ".join(cell.place), flush=True)
        ledger.once(*cell.place, of=cell.of, measure=cell.measure)
    write_text(folder / "README.md", readme(ledger.found))


if __name__ == "__main__":
    main()
