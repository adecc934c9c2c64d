"""What it costs a run to be killed, to be saved and to be shared by two processes.

    python -m benchmarks.reliability.run [--kills N] [--epochs N] [--seconds N] [--runs DIR]

Kills runs of several methods at random moments and resumes them (tests/faults/killing.py), measures what
checkpoints take of the time of a training, compares the gradients of two processes with those of one, and
fuzzes the readers of files where atheris is installed (tests/fuzzing/fuzz.py).
What is in results.json is not measured again, and every cell is written there as soon as it is known, so
the command may be stopped and started again. It ends by writing README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import limbeck
from benchmarks.reliability.readme import readme
from limbeck.files import write_text
from limbeck.training import Trainer, checkpoints

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results.json"
KILLED = (
    "ce",
    "kd, cached",
    "icd",
    "mgd(fitnet)",
    "lwkd",
    "crd",
    "on_policy",
    "dgkd, two teachers",
)
SAVED = {
    "mlp, epochs of 16 steps": {"student": "mlp", "batch_size": 64},
    "resnet8x4, epochs of 16 steps": {"student": "resnet8x4", "batch_size": 64},
    "mlp, every 10 steps": {"student": "mlp", "batch_size": 64, "save_every": 10},
}
"""Trainings of which it is measured what checkpoints take, the settings besides being the defaults."""


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

    checkpoints.save, Trainer.fit = timed_save, timed_fit  # type: ignore[method-assign, assignment]
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


def gradients() -> dict[str, float]:
    """The largest difference of two processes' gradient to that of one, over the largest, by method."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "methods")]
    import test_conformance as conformance
    import torch
    from invented_methods import INVENTED
    from method_setting import ALL, make_setting, objective_of

    from two_processes import run_in_two_processes

    ours = sorted(set(ALL) - set(INVENTED))
    jobs = [(conformance.gradients_of_half, (name,)) for name in ours]
    results = run_in_two_processes(jobs, paths=[*map(Path, sys.path)])
    found = {}
    for name, halves in zip(ours, results, strict=True):
        setting = make_setting(objective_of(name), norm=False, dtype=torch.float64)
        distiller = conformance.prepared(
            setting.distiller(objective_of(name)), setting.inputs, setting.targets
        )
        distiller(conformance.batch_of(setting.inputs, setting.targets)).backward()
        here = {key: p.grad for key, p in distiller.named_parameters() if p.grad is not None}
        largest = max(gradient.abs().max().item() for gradient in here.values())
        differences = [
            (half["gradients"][key] - gradient).abs().max().item()
            for half in halves
            for key, gradient in here.items()
        ]
        found[name] = max(differences) / largest
    return found


def fuzzed(target: str, seconds: int) -> dict[str, Any]:
    """What a fuzzer found in a reader."""
    script = [sys.executable, str(ROOT / "tests" / "fuzzing" / "fuzz.py"), target]
    done = subprocess.run([*script, "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def cells(kills: int, epochs: int, seconds: int, runs: Path) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """All that is measured: part and name in the results, and how."""
    for method in KILLED:
        yield "killed", method, lambda method=method: killed(method, kills, runs)  # type: ignore[misc]
    for name in SAVED:
        yield "saved", name, lambda name=name: saved(name, epochs, runs)  # type: ignore[misc]
    yield "gradients", "differences", gradients
    if find_spec("atheris") is not None:
        for target in FUZZED:
            yield "fuzzed", target, lambda target=target: fuzzed(target, seconds)  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what it costs a run to be killed and saved.")
    parser.add_argument("--kills", type=int, default=25, help="kills of each method")
    parser.add_argument("--epochs", type=int, default=200, help="epochs of the trainings that are timed")
    parser.add_argument("--seconds", type=int, default=60, help="for which each reader is fuzzed")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks/reliability"))
    asked = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for part, name, measure in cells(asked.kills, asked.epochs, asked.seconds, asked.runs):
        if name in results.get(part, {}):
            continue
        print(f"{part}: {name}", flush=True)
        results.setdefault(part, {})[name] = measure()
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    write_text(HERE / "README.md", readme(results))


if __name__ == "__main__":
    main()
